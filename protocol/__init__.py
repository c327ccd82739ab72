"""Pileway Link, the device wire protocol. Pure: no I/O, no clock, no state but keys.

``topics``    where a message goes, and the shard of a pile
``messages``  what may be said (``words`` are its vocabularies, ``fields`` the declarations behind it)
``codec``     message to body and back, deterministic CBOR
``envelope``  body to sealed frame and back, COSE_Encrypt0: ``Sealer``, ``Opener``, ``Counter``
``frames``    all of it in one call each way: ``seal`` and ``open_frame``
``errors``    everything that can be wrong with a frame, each with a short ``reason``
"""
