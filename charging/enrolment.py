"""Enrolment: one-time claim codes, certificates on the books, and device secrets wrapped by a key from outside.

A secret at rest is AES-GCM under the key-encryption key, bound to its pile and epoch; the database never holds it
plain.
"""

import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg import Connection
from psycopg.rows import TupleRow

from charging import events, pile_states
from charging.errors import ClaimRefused, PileUnknown, SecretUnreadable
from charging.events import EventKind

CODE_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: no I, L, O or U to misread."""
CODE_LENGTH = 16
"""80 random bits."""
SECRET_BYTES = 32
COUNTERS_PER_BOOT = 2**32

_NONCE_BYTES = 12


class SecretVault:
    """Wraps and unwraps device secrets with the key-encryption key given to the process."""

    def __init__(self, key_encryption_key: bytes) -> None:
        """`key_encryption_key`: 32 bytes. Raises ValueError for another length."""
        if len(key_encryption_key) != 32:
            raise ValueError(f"key-encryption key has {len(key_encryption_key)} bytes, not 32")
        self._aead = AESGCM(key_encryption_key)

    def wrap(self, secret: bytes, *, pile_id: str, epoch: int) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, secret, _context(pile_id, epoch))

    def unwrap(self, wrapped: bytes, *, pile_id: str, epoch: int) -> bytes:
        """The plain secret. Raises SecretUnreadable."""
        try:
            return self._aead.decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _context(pile_id, epoch)
            )
        except InvalidTag as error:
            raise SecretUnreadable(pile_id, epoch) from error


@dataclass(frozen=True)
class DeviceSecret:
    """A secret a pile may use; `in_use` once the pile is known to hold it."""

    epoch: int
    secret: bytes
    in_use: bool


@dataclass(frozen=True)
class DownCounters:
    """A block of Partial IVs for messages down: `boot` and the half-open range of sequence numbers."""

    boot: int
    first_seq: int
    end_seq: int


def issue_claim_code(conn: Connection[TupleRow], *, pile_id: str, expires_at: datetime, now: datetime) -> str:
    """A new one-time code for a pile, shown once; only its hash is kept. Unused older ones are over.

    Raises PileUnknown, also for a revoked pile.
    """
    conn.execute(
        """
        UPDATE pile_claim SET expires_at = %(now)s
         WHERE pile_id = %(pile_id)s AND used_at IS NULL AND expires_at > %(now)s
        """,
        {"pile_id": pile_id, "now": now},
    )
    code = "".join(secrets.choice(CODE_LETTERS) for _ in range(CODE_LENGTH))
    inserted = conn.execute(
        """
        INSERT INTO pile_claim (code_sha256, pile_id, created_at, expires_at)
        SELECT %(code_sha256)s, pile_id, %(now)s, %(expires_at)s
          FROM pile WHERE pile_id = %(pile_id)s AND state <> 'revoked'
        """,
        {"code_sha256": _code_hash(code), "pile_id": pile_id, "now": now, "expires_at": expires_at},
    ).rowcount
    if not inserted:
        raise PileUnknown(pile_id)
    return "-".join(code[start : start + 4] for start in range(0, CODE_LENGTH, 4))


def redeem_claim_code(
    conn: Connection[TupleRow], *, pile_id: str, code: str, key_sha256: bytes, now: datetime
) -> None:
    """Use up a code; case, spaces and hyphens do not matter. Raises ClaimRefused without telling why.

    Who used it may use it again with the same key (SHA-256 of its SubjectPublicKeyInfo) until it expires: our answer
    may have been lost on the way.
    """
    used = conn.execute(
        """
        UPDATE pile_claim SET used_at = coalesce(used_at, %(now)s), key_sha256 = %(key_sha256)s FROM pile
         WHERE pile_claim.code_sha256 = %(code_sha256)s AND pile_claim.pile_id = %(pile_id)s
           AND (pile_claim.used_at IS NULL OR pile_claim.key_sha256 = %(key_sha256)s)
           AND pile_claim.expires_at > %(now)s
           AND pile.pile_id = pile_claim.pile_id AND pile.state NOT IN ('revoked', 'quarantined')
        """,
        {"code_sha256": _code_hash(code), "pile_id": pile_id, "key_sha256": key_sha256, "now": now},
    ).rowcount
    if not used:
        raise ClaimRefused(pile_id)


def provision(
    conn: Connection[TupleRow],
    vault: SecretVault,
    *,
    pile_id: str,
    secret: bytes,
    certificate_serial: str,
    certificate_expires_at: datetime,
    now: datetime,
) -> int:
    """Put a freshly enrolled pile's certificate and secret on the books; returns the secret's epoch.

    A pile that enrols anew may be a new board whose boot counter begins again: its messages are ordered afresh, and
    what the old board still has to say under an older secret is not read any more.
    """
    conn.execute(
        "UPDATE pile_key SET retired_at = %(now)s WHERE pile_id = %(pile_id)s AND retired_at IS NULL",
        {"pile_id": pile_id, "now": now},
    )
    conn.execute(
        "UPDATE pile_certificate SET revoked_at = %(now)s WHERE pile_id = %(pile_id)s AND revoked_at IS NULL",
        {"pile_id": pile_id, "now": now},
    )
    row = conn.execute(
        "SELECT coalesce(max(epoch), 0) + 1 FROM pile_key WHERE pile_id = %(pile_id)s", {"pile_id": pile_id}
    ).fetchone()
    epoch = int(row[0]) if row else 1
    keep_secret(conn, vault, pile_id=pile_id, epoch=epoch, secret=secret, now=now, used_at=now)
    conn.execute(
        """
        INSERT INTO pile_certificate (serial, pile_id, issued_at, expires_at)
        VALUES (%(serial)s, %(pile_id)s, %(now)s, %(expires_at)s)
        """,
        {
            "serial": certificate_serial,
            "pile_id": pile_id,
            "now": now,
            "expires_at": certificate_expires_at,
        },
    )
    conn.execute(
        """
        UPDATE pile SET online = false, boot = 0, seq = 0, connection_boot = 0, connection = 0
         WHERE pile_id = %(pile_id)s
        """,
        {"pile_id": pile_id},
    )
    pile_states.enrolled(conn, pile_id, now=now)
    conn.execute("UPDATE pile_port SET boot = 0, seq = 0 WHERE pile_id = %(pile_id)s", {"pile_id": pile_id})
    events.record(conn, pile_id=pile_id, kind=EventKind.ENROLLED, now=now, detail={"epoch": epoch})
    return epoch


def keep_secret(
    conn: Connection[TupleRow],
    vault: SecretVault,
    *,
    pile_id: str,
    epoch: int,
    secret: bytes,
    now: datetime,
    used_at: datetime | None = None,
) -> None:
    """Put a secret on the books, wrapped; `used_at` is None until the pile is known to hold it."""
    conn.execute(
        """
        INSERT INTO pile_key (pile_id, epoch, wrapped_secret, created_at, first_used_at)
        VALUES (%(pile_id)s, %(epoch)s, %(wrapped_secret)s, %(now)s, %(used_at)s)
        """,
        {
            "pile_id": pile_id,
            "epoch": epoch,
            "wrapped_secret": vault.wrap(secret, pile_id=pile_id, epoch=epoch),
            "now": now,
            "used_at": used_at,
        },
    )


def secrets_of(conn: Connection[TupleRow], vault: SecretVault, pile_id: str) -> list[DeviceSecret]:
    """The secrets a pile may use, newest epoch first. Raises SecretUnreadable."""
    rows = conn.execute(
        """
        SELECT epoch, wrapped_secret, first_used_at IS NOT NULL FROM pile_key
         WHERE pile_id = %(pile_id)s AND retired_at IS NULL ORDER BY epoch DESC
        """,
        {"pile_id": pile_id},
    ).fetchall()
    return [
        DeviceSecret(epoch, vault.unwrap(wrapped, pile_id=pile_id, epoch=epoch), in_use)
        for epoch, wrapped, in_use in rows
    ]


def reserve_down_counters(
    conn: Connection[TupleRow], *, pile_id: str, epoch: int, count: int
) -> DownCounters:
    """Reserve `count` Partial IVs for messages down; once committed, no other caller ever gets them.

    A gateway that dies leaves a gap, never a reuse. Raises PileUnknown.
    """
    row = conn.execute(
        """
        UPDATE pile_key
           SET down_boot = CASE WHEN down_seq + %(count)s > %(most)s THEN down_boot + 1 ELSE down_boot END,
               down_seq = CASE WHEN down_seq + %(count)s > %(most)s THEN %(count)s ELSE down_seq + %(count)s END
         WHERE pile_id = %(pile_id)s AND epoch = %(epoch)s
        RETURNING down_boot, down_seq
        """,
        {"pile_id": pile_id, "epoch": epoch, "count": count, "most": COUNTERS_PER_BOOT},
    ).fetchone()
    if row is None:
        raise PileUnknown(pile_id)
    return DownCounters(boot=row[0], first_seq=row[1] - count, end_seq=row[1])


def _code_hash(code: str) -> bytes:
    plain = code.upper().replace("-", "").replace(" ", "")
    return hashlib.sha256(b"pileway claim code:" + plain.encode()).digest()


def _context(pile_id: str, epoch: int) -> bytes:
    return f"pileway device secret:{pile_id}:{epoch}".encode()
