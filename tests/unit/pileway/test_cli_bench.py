"""What no benchmark can do is said before anything is started."""

import pytest
from typer.testing import CliRunner

from pileway import cli


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("ingest --ports 1", "--ports"),
        ("ingest --ports 21", "--ports"),
        ("ingest --piles 0", "--piles"),
        ("ingest --way tcp", "--way"),
        ("backlog --ports 1", "--ports"),
        ("backlog --hours nan", "--hours"),
        ("survive --kills 0", "--kills"),
        ("survive --kept -1", "--kept"),
        ("commands --lanes 3", "--lanes"),
        ("commands --rate 1 --seconds 0.1", "--seconds"),
        ("live --sessions 15", "--sessions"),
        ("growth --keep name", "--database-url"),
        ("growth --database-url nonsense", "--database-url"),
        ("frames --repeats 0", "--repeats"),
    ],
)
def test_bad_numbers_are_refused_by_name(words: str, named: str) -> None:
    ran = CliRunner().invoke(cli.app, ["bench", *words.split()])
    assert ran.exit_code == 2
    assert named in ran.output
