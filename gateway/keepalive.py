"""When a link must give a sign of life, and when the broker has given none for too long (MQTT 5, 3.1.2.10).

Whatever is sent or heard is a sign. Silence is counted only while the link has read all there was: a link that was held
up has the broker's answer still before it.
"""


class KeepAlive:
    """The times of one connection, in monotonic seconds."""

    def __init__(self, *, keepalive_s: float, timeout_s: float, now_s: float) -> None:
        """The broker waits one and a half of `keepalive_s`; we wait `timeout_s` for the answer to our question."""
        # Half leaves the other half, and what the broker adds, to whatever holds the link up.
        self._interval_s = keepalive_s / 2
        self._timeout_s = timeout_s
        self._sent_s = self._heard_s = now_s
        self._asked_s: float | None = None

    def sent(self, now_s: float) -> None:
        """Something went out."""
        self._sent_s = now_s

    def heard(self, now_s: float) -> None:
        """Something came in."""
        self._heard_s = now_s

    def answered(self) -> None:
        """The broker answered the question."""
        self._asked_s = None

    def must_ask(self, now_s: float) -> bool:
        """Whether to ask the broker now whether it is there; asked, it is not asked again before its answer."""
        if self._asked_s is not None or now_s < min(self._sent_s, self._heard_s) + self._interval_s:
            return False
        self._asked_s = now_s
        return True

    def silent(self, now_s: float) -> bool:
        """Whether the broker owes an answer for too long."""
        return self._asked_s is not None and now_s >= max(self._asked_s, self._heard_s) + self._timeout_s

    def wait_s(self, now_s: float) -> float:
        """How long there is nothing to do here."""
        if self._asked_s is None:
            due_s = min(self._sent_s, self._heard_s) + self._interval_s
        else:
            due_s = max(self._asked_s, self._heard_s) + self._timeout_s
        return max(0.0, due_s - now_s)
