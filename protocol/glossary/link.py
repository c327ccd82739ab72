"""The fields of the connection's messages."""

from collections.abc import Mapping
from typing import Any, Final

from protocol import messages

FIELDS: Final[Mapping[type[Any], Mapping[str, str]]] = {
    messages.Boot: {
        "at_ms": "the pile's clock when it sends",
        "reason": "why it started",
        "model": "model, as sold",
        "hardware": "hardware revision",
        "firmware": "firmware version",
        "protocol": "protocol version; 1 for this document",
        "port_count": "ports the pile has",
        "config_version": "configuration in force; 0 if none was ever set",
        "tariff_version": "tariff shown; 0 if none was ever set",
        "imei": "IMEI of the modem",
        "iccid": "ICCID of the SIM",
    },
    messages.BootAck: {
        "heartbeat_s": "send a heartbeat this often",
        "sample_s": "send a meter frame this often while a port is busy",
        "reconnect_jitter_s": "widest random wait before reconnecting after the connection was lost",
        "config_version": "configuration the platform wants in force; 0: no wish",
        "tariff_version": "tariff the platform wants shown; 0: no wish",
    },
    messages.Heartbeat: {
        "sampled_at_ms": "when it was measured, by the pile's clock; never the same instant twice",
        "board_temperature_dc": "temperature on the board",
        "mains_dv": "mains voltage, RMS",
        "power_dw": "true power of all ports together",
        "energy_wh": "energy of all ports since the pile was made; it never goes back",
        "leakage_ma": "residual current",
        "ports": "every port",
    },
    messages.PortReport: {"state": "what the port is doing", "power_dw": "true power of the port"},
    messages.Gone: {},
    messages.TimeRequest: {"at_ms": "the pile's clock when it sends"},
    messages.Time: {},
    messages.KeyRotate: {
        "epoch": "the new epoch: one more than the one this frame is sealed under",
        "secret": "the device secret of the new epoch",
    },
    messages.RelayUp: {
        "child": "id of the pile behind the host",
        "name": "name of its message, as in its own topic",
        "frame": "the frame as it would stand on that topic",
    },
    messages.RelayDown: {
        "child": "id of the pile behind the host",
        "name": "name of the message, as in the child's own topic",
        "frame": "the frame as it would stand on that topic",
    },
}
