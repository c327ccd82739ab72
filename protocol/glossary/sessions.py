"""The fields of a port's and a session's messages."""

from collections.abc import Mapping
from typing import Any, Final

from protocol import messages

FIELDS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    messages.PortStateChanged: {
        "state": "what the port is doing now",
        "previous": "what it was doing before",
        "plugged": "whether a plug is in the socket",
        "power_dw": "true power of the port",
        "cause": "what made it change",
        "session_id": "the session on the port, if any",
        "fault": "which fault; with state `fault`",
        "fault_code": "the pile's own code behind `fault`",
    },
    messages.MeterFrame: {
        "sampled_at_ms": "when all of it was measured; a pile never sends two frames for one instant",
        "samples": "one row for each port whose session draws power",
        "receipt": "when the pile wants a `meter_receipt` for it; left out: never",
    },
    messages.FrameReceipt: {
        "boot": "boot counter of the frame's Partial IV",
        "seq": "sequence number of the frame's Partial IV",
        "result": "what became of it",
    },
    messages.MeterReceipt: {"frames": "one row for each frame"},
    messages.PortSample: {
        "elapsed_s": "since the session first drew power",
        "window_s": "length of the window that ends with this sample",
        "voltage_dv": "RMS voltage",
        "current_ma": "RMS current",
        "power_dw": "true power now",
        "power_factor_milli": "power factor",
        "energy_dwh": "since the session began: register now less register at the start",
        "power_min_dw": "least power in the window",
        "power_max_dw": "most power in the window",
        "power_mean_dw": "mean power in the window",
        "temperature_dc": "temperature at the socket",
        "phase": "where the battery is on its curve",
    },
    messages.Start: {
        "limit_s": "stop this long after power first flowed",
        "limit_dwh": "stop when this much was taken",
        "max_power_w": "stop when the port draws more than this for 3 s",
        "stop_when_full": "whether a full battery ends the session",
        "float_s": "how long the port stays on once the battery is full",
        "plug_wait_s": "how long the port waits for a load",
        "expires_at_ms": "refuse when the pile's clock is past this",
    },
    messages.StartAck: {
        "result": "what the pile will do",
        "cause": "why it refuses; with result `refused`",
    },
    messages.Started: {
        "started_at_ms": "when power first flowed, by the pile's clock",
        "power_dw": "power at that moment",
    },
    messages.Stop: {
        "reason": "to be repeated as `stop_reason` in the settlement",
        "expires_at_ms": "do not stop when the pile's clock is past this",
    },
    messages.StopAck: {"result": "what the pile did"},
    messages.SlotEnergy: {
        "slot": "half hours since 1970 (UTC) by the pile's clock: instant in seconds divided by 1800",
        "energy_dwh": "taken in this half hour",
        "duration_s": "seconds of the session in this half hour; more than 1800 is `rejected`",
    },
    messages.TierEnergy: {
        "tier": "level of power: mean power of a minute in W divided by 20, rounded down",
        "duration_s": "seconds at this level",
        "energy_dwh": "taken at this level",
    },
    messages.Settlement: {
        "source": "what started the session",
        "started_at_ms": "when power first flowed; when the start was accepted if it never did",
        "ended_at_ms": "when the relay opened",
        "duration_s": "from the first to the second, in whole seconds; 0 if power never flowed",
        "start_register_dwh": "the port's energy register at the start",
        "end_register_dwh": "the same at the end; not below the start",
        "energy_dwh": "what the session took: end less start",
        "slots": "by half hour, in time order, each once; empty if power never flowed",
        "tiers": "by level of power, in order of level",
        "max_power_dw": "highest mean power of a minute",
        "end_power_dw": "power just before the end",
        "stop_reason": "why it ended",
        "stop_code": "the pile's own code behind `stop_reason`",
        "samples_sent": "samples of this session the pile has sent or queued",
    },
    messages.SettlementAck: {"result": "what the platform did with it; each of them ends the repetition"},
    messages.Extend: {
        "limit_s": "stop this long after power first flowed; not less than now",
        "limit_dwh": "stop when this much was taken since the start; not less than now",
    },
    messages.ExtendAck: {
        "result": "what the pile did",
        "limit_s": "the limit that holds",
        "limit_dwh": "the limit that holds",
    },
    messages.LocalStart: {
        "session_id": "of the code, or made by the pile at random (UUID version 4)",
        "source": "what started it",
        "limit_s": "the limit the pile keeps to",
        "limit_dwh": "the limit the pile keeps to",
        "credential": "the card's number, or the digits typed in",
    },
    messages.LocalStartAck: {"result": "what the platform made of it; either ends the repetition"},
}
