"""Every case is tied to a clause that the protocol document really has."""

import re
from pathlib import Path

import pytest

from conformance.clauses import Clause
from conformance.pile import cases

DOCUMENT = (Path(__file__).parents[3] / "docs" / "protocol.md").read_text()
CLAUSES = {case.clause for case in cases.ALL}


def section(clause: Clause) -> str:
    """The text of a section, from its heading to the next."""
    heading = re.search(rf"^## {clause.number} {re.escape(clause.title)}$", DOCUMENT, re.MULTILINE)
    assert heading is not None, f"the document has no section {clause.number} {clause.title}"
    return DOCUMENT[heading.end() :].partition("\n## ")[0]


@pytest.mark.parametrize("clause", sorted(CLAUSES, key=str), ids=str)
def test_clause_is_in_the_document(clause: Clause) -> None:
    text = section(clause)
    if clause.paragraph is not None:
        assert f"**{clause.paragraph}" in text


def test_clause_is_written_as_number_title_and_paragraph() -> None:
    assert str(Clause(8, "From boot to settlement").on("Boot")) == "8 From boot to settlement: Boot"
