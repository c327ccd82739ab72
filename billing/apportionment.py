"""Dividing a whole number among weights so that the parts sum to it exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def largest_remainder(
    total: int, weights: Sequence[int], *, tie_break: Callable[[int], bytes] | None = None
) -> list[int]:
    """Parts of `total`, in proportion to `weights`, by Hamilton's method.

    Everybody gets the floor of the exact part; what is left goes out one by one to the largest remainders,
    equal remainders in the order of `tie_break(index)`, or of the index without one. `total` and the weights
    are not negative and the weights not all zero.
    """
    whole = sum(weights)
    if total < 0 or whole <= 0 or min(weights) < 0:
        raise ValueError(f"cannot apportion {total} among {list(weights)}")
    parts = [total * weight // whole for weight in weights]
    left = total - sum(parts)
    if left:
        by_claim = sorted(
            range(len(weights)),
            key=lambda index: (
                -(total * weights[index] % whole),
                tie_break(index) if tie_break else b"",
                index,
            ),
        )
        for index in by_claim[:left]:
            parts[index] += 1
    return parts
