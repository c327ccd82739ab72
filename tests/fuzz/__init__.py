"""Fuzzing the protocol: properties for hypothesis and atheris alike."""
