"""Pileway Link, the device wire protocol: messages, codec, envelope, topics. Pure; no I/O."""
