"""The web server has room for more than those who only watch."""

from pileway import web_server
from rider_web import live_hub


def test_watchers_alone_cannot_keep_payments_out() -> None:
    assert web_server.CONNECTIONS_AT_ONCE >= 2 * live_hub.MAX_SUBSCRIBERS
