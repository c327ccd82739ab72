"""What every field and every word of the protocol means, for the document made from the declarations.

A field is looked up under its message or row first, then among those that mean the same everywhere. A test holds
this to the catalogue: nothing may be missing, and nothing may be left over.
"""

from collections.abc import Mapping
from typing import Any, Final

from protocol.fields import WireEnum
from protocol.glossary import link, safety, service, service_words, session_words, sessions

COMMON_FIELDS: Final[Mapping[str, str]] = {
    "at_ms": "when it happened, by the pile's clock",
    "clock": "what the pile's clock rests on",
    "command_id": "the command's id, as the platform gave it",
    "expires_at_ms": "do nothing when the pile's clock is past this",
    "connection": "number of this connection in this boot, from 1",
    "port": "port number, as printed beside the socket",
    "register_dwh": "the port's energy register at the start; it never goes back",
    "session_id": "the session's id, as the platform gave it",
    "signal_dbm": "received signal strength",
    "tariff_version": "number of the tariff the session was sold under; a pile repeats it as given",
    "time_ms": "the platform's clock at the moment of sending",
    "unsent": "records the platform does not have yet: settlements, samples, changes",
}

FIELDS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    **link.FIELDS,
    **sessions.FIELDS,
    **safety.FIELDS,
    **service.FIELDS,
}
WORDS: Final[Mapping[type[WireEnum], Mapping[str, str]]] = {**session_words.WORDS, **service_words.WORDS}


def field_meaning(owner: type[Any], name: str) -> str:
    """What a field of a message or row means. Raises KeyError for one nobody has explained."""
    own = FIELDS[owner]
    return own[name] if name in own else COMMON_FIELDS[name]
