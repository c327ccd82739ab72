"""Splitting one fee among parties: exact to the fen, unbiased, and the same every time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from billing.apportionment import largest_remainder
from billing.errors import SplitRefused

WHOLE_BPS = 10_000
"""The sum of the shares of one fee kind, in basis points."""


def split(amount_fen: int, shares: Mapping[str, int], *, salt: bytes) -> dict[str, int]:
    """Each party's part of `amount_fen`, by its share in basis points; the parts sum to the amount.

    Largest remainder; a tie goes by SHA-256 of the salt (the session) and the party, so that over many
    sessions no party gains from its place in a list, while one session always splits the same way. A smaller
    amount may give a party one fen more: after a partial refund compute both splits and post the signed
    difference.

    Raises SplitRefused for an amount below zero or shares that are not 10000 in all.
    """
    if amount_fen < 0:
        raise SplitRefused(f"{amount_fen} fen is below zero")
    if sum(shares.values()) != WHOLE_BPS or any(bps < 0 for bps in shares.values()):
        raise SplitRefused(f"shares {dict(shares)} are not {WHOLE_BPS} bps in all")
    party_ids = sorted(shares)

    def tie_break(index: int) -> bytes:
        return hashlib.sha256(salt + b"\x00" + party_ids[index].encode()).digest()

    parts_fen = largest_remainder(
        amount_fen, [shares[party_id] for party_id in party_ids], tie_break=tie_break
    )
    return dict(zip(party_ids, parts_fen, strict=True))
