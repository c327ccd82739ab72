"""How often Python looks for garbage in a gateway.

A batch is tens of thousands of objects that all live until its commit and then go by their reference counts: nothing
in them forms a cycle. With the usual thresholds the collector walks through them several times a batch, which costs
as much as decrypting and decoding the frames.
"""

import gc

AFTER_OBJECTS = 100_000
"""So many more objects made than freed, and the collector looks; about five batches' worth."""
_YOUNG_ROUNDS = 20
_MIDDLE_ROUNDS = 20


def collect_rarely() -> None:
    """Leave alone what stands now, and look for garbage among the rest only now and then."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(AFTER_OBJECTS, _YOUNG_ROUNDS, _MIDDLE_ROUNDS)
