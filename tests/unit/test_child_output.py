"""A child that does not say what a test waits for fails that test in time, with its words."""

import subprocess

import pytest

from tests import child_output


def _says(script: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)


def test_the_line_waited_for_is_given_and_the_next_one_is_kept() -> None:
    with _says("echo up; echo READY 1; echo READY 2") as child:
        assert child_output.line_of(child, "READY") == "READY 1"
        assert child_output.line_of(child) == "READY 2"


def test_a_child_that_falls_silent_is_killed_and_quoted() -> None:
    with (
        _says("echo no database; exec sleep 60") as child,
        pytest.raises(AssertionError, match=r"nothing within.*\nno database"),
    ):
        child_output.line_of(child, "READY", limit_s=0.2)


def test_a_child_that_ends_is_quoted_with_its_code() -> None:
    with (
        _says("echo no broker; exit 3") as child,
        pytest.raises(AssertionError, match=r"an end with code 3.*\nno broker"),
    ):
        child_output.line_of(child, "READY")
