"""Style sheet, script and chart library, held in memory under addresses that change with their content."""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

_FOLDER = Path(__file__).parent / "static"
_KINDS = MappingProxyType(
    {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
)


@dataclass(frozen=True)
class Asset:
    """One file; `url` may be cached for ever because it names the content."""

    url: str
    media_type: str
    content: bytes


@cache
def all_assets() -> MappingProxyType[str, Asset]:
    """Every asset by its path below `static/`."""
    assets: dict[str, Asset] = {}
    for path in sorted(_FOLDER.rglob("*")):
        if path.suffix in _KINDS:
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()[:12]
            assets[path.relative_to(_FOLDER).as_posix()] = Asset(
                f"/assets/{digest}/{path.name}", _KINDS[path.suffix], content
            )
    return MappingProxyType(assets)


def find(digest: str, name: str) -> Asset | None:
    """The asset served under /assets/{digest}/{name}."""
    return _by_url().get(f"/assets/{digest}/{name}")


def url(path: str) -> str:
    """The address of the asset at `path` below `static/`. Raises KeyError."""
    return all_assets()[path].url


@cache
def _by_url() -> MappingProxyType[str, Asset]:
    return MappingProxyType({asset.url: asset for asset in all_assets().values()})
