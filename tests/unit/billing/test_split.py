"""Splitting fees: exact, unbiased, repeatable."""

from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.apportionment import largest_remainder
from billing.errors import SplitRefused
from billing.split import WHOLE_BPS, split

PARTIES = ("lvdian", "pileway", "laowang", "yuquan-wuye", "chepeng")
SALT = UUID(int=7).bytes


@st.composite
def share_sets(draw: st.DrawFn) -> dict[str, int]:
    count = draw(st.integers(1, len(PARTIES)))
    cuts = sorted(draw(st.sets(st.integers(1, WHOLE_BPS - 1), min_size=count - 1, max_size=count - 1)))
    edges = [0, *cuts, WHOLE_BPS]
    return {party: edges[at + 1] - edges[at] for at, party in enumerate(PARTIES[:count])}


@given(amount_fen=st.integers(0, 10_000_000), shares=share_sets(), salt=st.binary(max_size=32))
def test_parts_sum_to_the_amount_and_are_within_a_fen_of_exact(
    amount_fen: int, shares: dict[str, int], salt: bytes
) -> None:
    parts = split(amount_fen, shares, salt=salt)
    assert sum(parts.values()) == amount_fen
    assert parts.keys() == shares.keys()
    for party, bps in shares.items():
        assert abs(parts[party] * WHOLE_BPS - amount_fen * bps) < WHOLE_BPS


@given(amount_fen=st.integers(0, 100_000), shares=share_sets(), salt=st.binary(max_size=32))
def test_the_order_of_the_parties_changes_nothing(
    amount_fen: int, shares: dict[str, int], salt: bytes
) -> None:
    backwards = dict(reversed(shares.items()))
    assert split(amount_fen, shares, salt=salt) == split(amount_fen, backwards, salt=salt)


@given(
    amount_fen=st.integers(1, 50_000),
    refunds=st.lists(st.integers(1, 20_000), max_size=6),
    shares=share_sets(),
)
def test_refunding_by_recompute_and_diff_leaves_nothing_behind(
    amount_fen: int, refunds: list[int], shares: dict[str, int]
) -> None:
    """Partial refunds, then a refund of the rest: every party ends at exactly zero."""
    held = split(amount_fen, shares, salt=SALT)
    net_fen = amount_fen
    for refund_fen in [*refunds, amount_fen]:
        after_fen = max(0, net_fen - refund_fen)
        before, after = split(net_fen, shares, salt=SALT), split(after_fen, shares, salt=SALT)
        taken_back = {party: before[party] - after[party] for party in shares}
        assert sum(taken_back.values()) == net_fen - after_fen
        held = {party: held[party] - taken_back[party] for party in shares}
        net_fen = after_fen
    assert set(held.values()) == {0}


@pytest.mark.parametrize(
    "shares",
    [
        {"lvdian": 7000, "yuquan-wuye": 2000, "pileway": 1000},
        {"lvdian": 2500, "yuquan-wuye": 2500, "laowang": 2500, "pileway": 2500},
        {"lvdian": 5500, "yuquan-wuye": 2500, "laowang": 1000, "pileway": 1000},
        {"lvdian": 5000, "pileway": 5000},
    ],
)
def test_no_party_gains_over_many_sessions(shares: dict[str, int]) -> None:
    """20 000 sessions of 0.20 to 3.00 yuan: each party is within 4 sigma of its exact share.

    A tie of one fen moves less than one fen from expectation, so the sum of 20 000 has a standard deviation below
    sqrt(20 000)/2 = 71 fen. Ties by list order move thousands.
    """
    got_fen = dict.fromkeys(shares, 0)
    total_fen = 0
    for number in range(20_000):
        amount_fen = 20 + number * 37 % 281
        total_fen += amount_fen
        for party, part_fen in split(amount_fen, shares, salt=UUID(int=number).bytes).items():
            got_fen[party] += part_fen
    for party, bps in shares.items():
        assert abs(got_fen[party] - total_fen * bps / WHOLE_BPS) < 4 * 71


def test_one_fen_among_three_goes_to_one_and_always_to_the_same() -> None:
    shares = {"lvdian": 3334, "pileway": 3333, "laowang": 3333}
    first = split(1, shares, salt=SALT)
    assert sorted(first.values()) == [0, 0, 1]
    assert first == split(1, shares, salt=SALT)


def test_a_smaller_amount_may_raise_a_party() -> None:
    """Largest remainder is not monotone; the signed difference is posted, never clamped."""
    shares = {"lvdian": 8000, "yuquan-wuye": 1500, "pileway": 500}
    assert split(10, shares, salt=SALT)["pileway"] in (0, 1)
    assert split(9, shares, salt=SALT) == {"lvdian": 7, "yuquan-wuye": 1, "pileway": 1}


@pytest.mark.parametrize(
    ("amount_fen", "shares"),
    [
        (-1, {"lvdian": 10_000}),
        (1, {"lvdian": 9_999}),
        (1, {"lvdian": 10_001}),
        (1, {"lvdian": 10_001, "pileway": -1}),
        (1, {}),
    ],
)
def test_what_is_not_a_whole_is_refused(amount_fen: int, shares: dict[str, int]) -> None:
    with pytest.raises(SplitRefused):
        split(amount_fen, shares, salt=uuid4().bytes)


def test_apportioning_among_nobody_is_refused() -> None:
    for total, weights in ((1, [0, 0]), (-1, [1]), (1, [2, -1])):
        with pytest.raises(ValueError, match="cannot apportion"):
            largest_remainder(total, weights)


def test_equal_remainders_go_to_the_first_without_a_tie_break() -> None:
    assert largest_remainder(3, [1, 1]) == [2, 1]
