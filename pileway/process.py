"""What every long-running process of ours does: stop on a signal and say when it is ready."""

import os
import signal
import socket
import threading
from types import FrameType

_READY = b"READY=1"
_SEND_LIMIT_S = 1.0


def stop_event() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets; call it once, from the main thread."""
    stopped = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return stopped


def tell_ready() -> None:
    """Tell whoever started us that we work now, in the way of systemd's `sd_notify` (socket in `NOTIFY_SOCKET`).

    Does nothing when nobody asked, and when the asker is gone.
    """
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        notifier.settimeout(_SEND_LIMIT_S)
        try:
            notifier.sendto(_READY, path.replace("@", "\0", 1) if path.startswith("@") else path)
        except OSError:
            return
