"""Simulated piles: battery curves, riders' batteries, fleets. Knows only the protocol."""
