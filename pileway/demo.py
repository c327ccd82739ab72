"""`pileway demo`: the whole platform with a simulated street on an accelerated clock, shown live until stopped."""

import time
from contextlib import suppress

from rich.console import Console

from pileway import demo_once, demo_platform, demo_screen, street
from pileway.demo_platform import DemoPlatform
from pileway.demo_riders import Riders
from pileway.settings import Settings

SPEED = 120.0
REFRESH_S = 1.0
LINE_EVERY = 10
"""Refreshes between two lines where the output is no terminal."""
AUDIT_EVERY = 10
"""Refreshes between two audits of the whole ledger."""


def run(settings: Settings, *, once: bool, as_json: bool, speed: float | None) -> int:
    """Run the street until Ctrl-C, or one charge with `once`; returns the exit code."""
    if once:
        return demo_once.run(settings, as_json=as_json, speed=speed)
    return _run_street(settings.with_values(clock_speed=speed or SPEED))


def _run_street(settings: Settings) -> int:
    console = Console(highlight=False)
    with (
        console.status("starting") as status,
        demo_platform.platform(settings, progress=status.update) as platform,
    ):
        status.stop()
        console.print(demo_screen.welcome(platform))
        with Riders(platform, street.sockets(), seed=1) as riders, suppress(KeyboardInterrupt):
            _show(console, platform, riders)
        console.print("stopping; the next start goes on from here")
    return 0


def _show(console: Console, platform: DemoPlatform, riders: Riders) -> None:
    """Redraw the street once a second on a terminal, tell it in lines elsewhere; ends by an interrupt."""
    balanced = True
    turn = 0
    with demo_screen.Screen(console) as screen:
        while True:
            look = demo_screen.look(platform, riders, audit=turn % AUDIT_EVERY == 0, balanced=balanced)
            balanced = look.balanced
            if console.is_terminal or turn % LINE_EVERY == 0:
                screen.show(look)
            platform.keep_clock()
            turn += 1
            time.sleep(REFRESH_S)
