"""House rules no linter knows: who may touch a table, how long files and functions may be, what has a docstring."""

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = (
    "pileway",
    "protocol",
    "gateway",
    "charging",
    "billing",
    "operator_api",
    "rider_web",
    "device_sim",
    "payment_sim",
    "database",
    "conformance",
)
# They keep files of their own and never reach the platform's database.
SIMULATORS = ("device_sim", "payment_sim")
MODULES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70

# Who owns the tables of each migration file; what the database package keeps for itself is in its Python files.
OWNERS = {
    "0002_parties_tariffs_agreements": "billing",
    "0003_ledger": "billing",
    "0004_payments_and_charges": "billing",
    "0005_sites_and_piles": "charging",
    "0006_sessions_and_commands": "charging",
    "0007_meter": "charging",
    "0008_lane_leases": "database",
    "0009_pile_care": "charging",
    "0010_safety": "charging",
    "0011_identity": "charging",
    "0012_firmware_and_local_starts": "charging",
    "0013_port_registers": "charging",
    "0014_refused_local_starts": "charging",
    "0015_live_readings": "charging",
}
DATABASE_TABLES = ("schema_migration", "job_queue_version")
# Reports: made from the meter, read by whoever owns meter samples.
VIEWS = {"port_load_hour": "charging", "pile_load_day": "charging", "site_load_day": "charging"}
# The one module that reads them, and who may import it: what anybody pays stands on settlements.
REPORTS = Path("charging/site_loads.py")
REPORTS_SHOWN_BY = {
    "operator_api/load_endpoints.py",
    "pileway/bench/growth.py",
    "pileway/bench/growth_table.py",
}

_CREATE = re.compile(r"^\s*CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)", re.MULTILINE)
_STATEMENT = re.compile(r"\b(?:SELECT|INSERT|UPDATE|DELETE|TRUNCATE|COPY|LOCK|WITH|MERGE)\b")
_TOUCH = re.compile(
    r"\b(?:FROM|JOIN|INTO|UPDATE|COPY|TRUNCATE|TABLE|USING|ONLY|MERGE INTO)\s+(?:ONLY\s+)?(?:public\.)?\"?(\w+)"
    r"|,\s*(\w+)(?=\s+(?:AS\s+)?\w+\s+(?:JOIN|WHERE|,))"
)


@cache
def _owners() -> dict[str, str]:
    owners = dict.fromkeys(DATABASE_TABLES, "database") | VIEWS
    for file in (ROOT / "database" / "migrations").glob("*.sql"):
        for table in _CREATE.findall(file.read_text()):
            owners[table] = OWNERS[file.stem]
    return owners


def _tables_touched(sql: str) -> set[str]:
    return {name for match in _TOUCH.findall(sql) for name in match if name}


@dataclass(frozen=True)
class Facts:
    """What one reading of a file tells all the rules."""

    docstring: str | None
    imported: frozenset[str]
    sql_literals: tuple[tuple[int, str], ...]
    """Line and text of each literal that holds a statement; prose about a module, class or function does not count."""
    function_lines: tuple[tuple[str, int], ...]


@cache
def _facts(file: Path) -> Facts:
    tree = ast.parse(file.read_text())
    prose: set[int] = set()
    imported: set[str] = set()
    literals: list[tuple[int, str]] = []
    functions: list[tuple[str, int]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str) and id(node) not in prose and _STATEMENT.search(node.value):
                literals.append((node.lineno, node.value))
        elif isinstance(node, ast.Import):
            imported.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            imported.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if node.body and isinstance(node.body[0], ast.Expr):
                prose.add(id(node.body[0].value))  # the walk comes to it later
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                functions.append((node.name, (node.end_lineno or node.lineno) - node.lineno + 1))
    return Facts(ast.get_docstring(tree), frozenset(imported), tuple(literals), tuple(functions))


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_table_has_an_owner() -> None:
    owners = _owners()
    assert {"party", "posting", "pile", "charging_session", "meter_sample", "lane_lease"} <= owners.keys()
    assert set(owners.values()) <= set(PACKAGES)


@pytest.mark.parametrize(
    "module", [module for module in MODULES if module.relative_to(ROOT).parts[0] not in SIMULATORS], ids=_name
)
def test_sql_of_a_table_stays_in_its_owner(module: Path) -> None:
    package = module.relative_to(ROOT).parts[0]
    owners = _owners()
    strangers = [
        f"line {line}: {table} belongs to {owners[table]}"
        for line, sql in _facts(module).sql_literals
        for table in sorted(_tables_touched(sql))
        if table in owners and owners[table] != package
    ]
    assert strangers == []


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_no_money_is_read_from_a_report(module: Path) -> None:
    facts, name = _facts(module), module.relative_to(ROOT)
    read = {view for _, sql in facts.sql_literals for view in _tables_touched(sql) & VIEWS.keys()}
    assert name == REPORTS or not read
    shows = any(each.startswith("charging.site_loads") for each in facts.imported)
    assert not shows or str(name) in REPORTS_SHOWN_BY


@pytest.mark.parametrize(
    ("sql", "tables"),
    [
        ("SELECT a FROM pile JOIN pile_port USING (pile_id)", {"pile", "pile_port"}),
        ("SELECT a FROM posting p, journal_entry e WHERE p.x = e.x", {"posting", "journal_entry"}),
        ("INSERT INTO refund (a) SELECT a FROM payment", {"refund", "payment"}),
        ("UPDATE ONLY payment SET a = 1", {"payment"}),
        ("WITH gone AS (DELETE FROM command RETURNING a) SELECT count(*) FROM gone", {"command"}),
        ("COPY meter_sample (a) FROM STDIN", {"meter_sample"}),
    ],
)
def test_rule_finds_the_tables_of_a_statement(sql: str, tables: set[str]) -> None:
    assert tables == _tables_touched(sql) & _owners().keys()


@pytest.mark.parametrize("module", [*MODULES, *TESTS], ids=_name)
def test_file_is_short_and_says_what_it_is(module: Path) -> None:
    assert module.read_text().count("\n") <= MAX_FILE_LINES
    assert _facts(module).docstring, "the module has no docstring"


@pytest.mark.parametrize("module", [*MODULES, *TESTS], ids=_name)
def test_functions_fit_on_a_screen_or_nearly(module: Path) -> None:
    long = [
        f"{name}: {lines} lines"
        for name, lines in _facts(module).function_lines
        if lines > MAX_FUNCTION_LINES
    ]
    assert long == []


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_nothing_is_left_for_later(module: Path) -> None:
    marks = re.findall(r"\b(?:TODO|FIXME|XXX|HACK)\b", module.read_text())
    assert marks == []


@pytest.mark.parametrize("file", sorted((ROOT / "database").rglob("*.sql")), ids=_name)
def test_every_table_says_what_it_is(file: Path) -> None:
    sql = file.read_text()
    silent = [table for table in _CREATE.findall(sql) if f"COMMENT ON TABLE {table} IS" not in sql]
    assert silent == []


def test_locks_pin_hashes_and_name_no_host() -> None:
    python = (ROOT / "requirements.lock").read_text()
    node = (ROOT / "package-lock.json").read_text()
    assert "://" not in python
    assert "--index" not in python
    assert python.count("==") <= python.count("--hash=sha256:")
    assert "://" not in node
    assert node.count('"integrity"') == node.count("node_modules/")
