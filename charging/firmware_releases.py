"""Firmware releases: an image, what its maker signed about it, and the bytes for the piles that fetch them.

A release never changes. The image is kept in parts, so that neither writing nor reading it takes more memory than one.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from charging.errors import ReleaseConflict, ReleaseRefused, ReleaseUnknown

MOST_BYTES = 64 << 20
"""The largest image the protocol can name."""
PART_BYTES = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What the maker signs: for which model, which version, over which it may be installed, and which bytes."""

    model: str
    version: str
    minimum_version: str
    size_bytes: int
    sha256: bytes


SignatureCheck = Callable[[Manifest, bytes], bool]
"""Whether the maker whose key the platform holds signed this manifest so."""


@dataclass(frozen=True)
class Release:
    """A release; `signature_checked` says whether the platform held the maker's key when it came."""

    release_id: int
    model: str
    version: str
    minimum_version: str
    size_bytes: int
    sha256: bytes
    signature: bytes
    signature_checked: bool
    uploaded_at: datetime

    @property
    def manifest(self) -> Manifest:
        """What was signed."""
        return Manifest(self.model, self.version, self.minimum_version, self.size_bytes, self.sha256)


@dataclass(frozen=True)
class Image:
    """An image by the SHA-256 of its bytes."""

    sha256: bytes
    size_bytes: int


def publish(
    conn: Connection[TupleRow],
    manifest: Manifest,
    signature: bytes,
    image: Iterable[bytes],
    *,
    is_genuine: SignatureCheck | None,
    now: datetime,
) -> Release:
    """Keep a release with its image, given in parts of any size. The same again returns the first.

    Without `is_genuine` the signature is kept unchecked: piles check it anyway. Raises ReleaseRefused for what the
    manifest or the signature contradicts, ReleaseConflict for a version that exists with something else in it.
    """
    if not 1 <= manifest.size_bytes <= MOST_BYTES:
        raise ReleaseRefused("size", f"the manifest's size is not 1 to {MOST_BYTES} bytes")
    if is_genuine is not None and not is_genuine(manifest, signature):
        raise ReleaseRefused("signature", "the maker's key did not make this signature over this manifest")
    known = _find(conn, model=manifest.model, version=manifest.version)
    if known is not None:
        if (known.manifest, known.signature) != (manifest, signature):
            raise ReleaseConflict(manifest.model, manifest.version)
        return known
    _keep_image(conn, manifest, image)
    conn.execute(
        """
        INSERT INTO firmware_release (model, version, minimum_version, size_bytes, sha256, signature,
                                      signature_checked, uploaded_at)
        VALUES (%(model)s, %(version)s, %(minimum_version)s, %(size_bytes)s, %(sha256)s, %(signature)s,
                %(checked)s, %(now)s)
        ON CONFLICT (model, version) DO NOTHING
        """,
        {
            "model": manifest.model,
            "version": manifest.version,
            "minimum_version": manifest.minimum_version,
            "size_bytes": manifest.size_bytes,
            "sha256": manifest.sha256,
            "signature": signature,
            "checked": is_genuine is not None,
            "now": now,
        },
    )
    kept = _find(conn, model=manifest.model, version=manifest.version)
    if kept is None or (kept.manifest, kept.signature) != (manifest, signature):
        raise ReleaseConflict(manifest.model, manifest.version)
    return kept


def get(conn: Connection[TupleRow], release_id: int) -> Release:
    """One release. Raises ReleaseUnknown."""
    with conn.cursor(row_factory=class_row(Release)) as cursor:
        release = cursor.execute(
            """
            SELECT release_id, model, version, minimum_version, size_bytes, sha256, signature, signature_checked,
                   uploaded_at
              FROM firmware_release WHERE release_id = %(release_id)s
            """,
            {"release_id": release_id},
        ).fetchone()
    if release is None:
        raise ReleaseUnknown(release_id)
    return release


def page(
    conn: Connection[TupleRow], *, limit: int, model: str | None = None, before: int | None = None
) -> list[Release]:
    """Releases newest first, at most `limit`, those with an id below `before` if given."""
    with conn.cursor(row_factory=class_row(Release)) as cursor:
        return cursor.execute(
            """
            SELECT release_id, model, version, minimum_version, size_bytes, sha256, signature, signature_checked,
                   uploaded_at
              FROM firmware_release
             WHERE (%(model)s::text IS NULL OR model = %(model)s)
               AND (%(before)s::bigint IS NULL OR release_id < %(before)s)
             ORDER BY release_id DESC LIMIT %(limit)s
            """,
            {"model": model, "before": before, "limit": limit},
        ).fetchall()


def find_image(conn: Connection[TupleRow], sha256: bytes) -> Image | None:
    """An image that belongs to a release; None for anything else."""
    with conn.cursor(row_factory=class_row(Image)) as cursor:
        return cursor.execute(
            "SELECT sha256, size_bytes FROM firmware_release WHERE sha256 = %(sha256)s LIMIT 1",
            {"sha256": sha256},
        ).fetchone()


def read_part(conn: Connection[TupleRow], sha256: bytes, part_no: int) -> bytes:
    """One part of an image, PART_BYTES long but for the last. Raises LookupError where there is none."""
    row = conn.execute(
        "SELECT content FROM firmware_image_part WHERE sha256 = %(sha256)s AND part_no = %(part_no)s",
        {"sha256": sha256, "part_no": part_no},
    ).fetchone()
    if row is None:
        raise LookupError(f"no part {part_no} of image {sha256.hex()}")
    return bytes(row[0])


def _keep_image(conn: Connection[TupleRow], manifest: Manifest, image: Iterable[bytes]) -> None:
    digest = hashlib.sha256()
    size_bytes = 0
    for part_no, part in enumerate(_parts(image)):
        digest.update(part)
        size_bytes += len(part)
        if size_bytes > manifest.size_bytes:
            break
        conn.execute(
            """
            INSERT INTO firmware_image_part (sha256, part_no, content)
            VALUES (%(sha256)s, %(part_no)s, %(content)s) ON CONFLICT DO NOTHING
            """,
            {"sha256": manifest.sha256, "part_no": part_no, "content": part},
        )
    if size_bytes != manifest.size_bytes:
        raise ReleaseRefused("size", "the image is not as long as the manifest says")
    if digest.digest() != manifest.sha256:
        raise ReleaseRefused("hash", "the image is not the one the manifest describes")


def _parts(image: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in image:
        held += piece
        while len(held) >= PART_BYTES:
            yield bytes(held[:PART_BYTES])
            del held[:PART_BYTES]
    if held:
        yield bytes(held)


def _find(conn: Connection[TupleRow], *, model: str, version: str) -> Release | None:
    with conn.cursor(row_factory=class_row(Release)) as cursor:
        return cursor.execute(
            """
            SELECT release_id, model, version, minimum_version, size_bytes, sha256, signature, signature_checked,
                   uploaded_at
              FROM firmware_release WHERE model = %(model)s AND version = %(version)s
            """,
            {"model": model, "version": version},
        ).fetchone()
