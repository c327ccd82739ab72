"""The fields of the care of a pile."""

from collections.abc import Mapping
from typing import Any, Final

from protocol import messages

FIELDS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    messages.CommandAck: {"result": "what the pile did", "cause": "why it refuses; with result `refused`"},
    messages.ConfigValue: {"key": "name of the setting", "value": "in the setting's unit"},
    messages.ConfigSet: {
        "version": "number of this configuration; the pile repeats it in `boot`",
        "values": "the settings to change",
    },
    messages.Config: {
        "version": "number of the configuration in force; 0 if none was ever set",
        "result": "what the pile did",
        "values": "every setting in force",
        "command_id": "which `config_set` or `query` this answers",
        "key": "the setting at fault; with result `refused`",
        "cause": "what is wrong with it; with result `refused`",
    },
    messages.TariffBand: {
        "fee": "what it is paid for",
        "unit": "what it is counted by",
        "days": "days of the week it holds on: Monday 1, Tuesday 2, Wednesday 4 ... Sunday 64, added",
        "from_minute": "from this minute of the day on, local time",
        "to_minute": "until before this minute of the day; above `from_minute`",
        "min_power_w": "from this power on",
        "max_power_w": "below this power; 0: no end",
        "price_cfen": "price of one unit",
    },
    messages.TariffSet: {
        "version": "number of the tariff; the pile repeats it in `boot`",
        "valid_from_ms": "show it from then on",
        "utc_offset_s": "local time less UTC, for the minutes of the bands",
        "bands": "the prices",
        "text": "a line to show beside them",
    },
    messages.Tariff: {
        "version": "number of the tariff shown; 0 if none was ever set",
        "result": "what the pile did",
        "command_id": "which `tariff_set` or `query` this answers",
        "cause": "what is wrong with it; with result `refused`",
    },
    messages.Firmware: {
        "version": "the version offered",
        "model": "the model it is made for; as in `boot`",
        "url": "where to fetch it, http or https",
        "size_bytes": "size of the file",
        "sha256": "SHA-256 of the file",
        "signature": "Ed25519 signature of the manifest",
        "minimum_version": "what must run already",
        "window_from_ms": "do not install before",
        "window_to_ms": "do not begin to install after",
        "force": "end running sessions as `reboot` rather than wait for them",
    },
    messages.FirmwareState: {
        "version": "the version offered",
        "running": "the version that runs",
        "step": "where the update stands",
        "percent": "of this step",
        "error": "why it failed; with step `failed`",
    },
    messages.Query: {"topic": "what to tell"},
    messages.LogRequest: {
        "since_ms": "no line older than this",
        "max_lines": "no more lines than this, the newest",
    },
    messages.LogLine: {
        "at_ms": "when it was written, by the pile's clock",
        "level": "how grave",
        "text": "the line; no secret, no card number",
    },
    messages.LogLines: {
        "part": "number of this part",
        "last": "whether it is the last one",
        "lines": "lines in order of time; empty only when there are none at all",
    },
    messages.Reboot: {"force": "end running sessions as `reboot` rather than wait for them"},
    messages.Locate: {
        "duration_s": "how long",
        "port": "the port to point out; absent for the pile",
    },
    messages.Voice: {"text": "what to say"},
    messages.RelayTest: {},
    messages.PortSet: {"enabled": "in service or not"},
}
