"""Composition root: settings, embedded parts, command line, processes and the demo."""
