"""How the interpreter of a gateway's process is set.

A batch is thousands of objects that all live until its commit and then go by their reference counts: nothing in them
forms a cycle. With the usual thresholds the garbage collector walks through them several times a batch, which
costs as much as decrypting and decoding the frames.

The links, the reading ahead and the writer share one interpreter. The writer asks the database dozens of times a batch
and wants the interpreter back after each; another thread that computes keeps it as long as the switch interval.
"""

import gc
import sys

COLLECT_AFTER_OBJECTS = 100_000
"""So many more objects made than freed, and the collector looks; a dozen batches' worth and more."""
SWITCH_INTERVAL_S = 0.0002

_YOUNG_ROUNDS = 20
_MIDDLE_ROUNDS = 20


def settle() -> None:
    """Leave alone what stands now and look for garbage among the rest only now and then; let threads take turns."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS, _YOUNG_ROUNDS, _MIDDLE_ROUNDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
