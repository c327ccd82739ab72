"""A pile by somebody who has only read docs/protocol.md: runs until it has settled as often as it was asked to."""

import argparse
import json
import sys
import time
from pathlib import Path

import identity
from pile import Pile
from wire import Wire

TICK_S = 0.02


def main() -> None:
    """Enrol, connect, charge, settle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pile", required=True)
    parser.add_argument("--ports", type=int, required=True)
    parser.add_argument("--enrol-at", required=True)
    parser.add_argument("--trust", type=Path, required=True)
    parser.add_argument("--code", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--settle", type=int, required=True)
    parser.add_argument("--speed", type=float, default=1.0)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    myself = identity.enrol(
        chosen.pile, url=chosen.enrol_at, trust=chosen.trust, code=chosen.code, folder=chosen.folder
    )
    wire = Wire(myself, boot=1)
    pile = Pile(wire, port_count=chosen.ports, speed=chosen.speed)
    while pile.settled < chosen.settle or not pile.samples.in_order:
        pile.tick()
        time.sleep(TICK_S)
    wire.leave()
    report = {
        "settled": pile.settled,
        "connections": wire.connection,
        "frames": pile.samples.made,
        "frames_said_again": pile.samples.said_again,
        "frames_of_lost_receipt": len(pile.samples.missed),
        "frames_refused": pile.samples.refused,
        "unopened": wire.unopened,
        "stale": wire.stale,
    }
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
