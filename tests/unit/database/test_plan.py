"""Which migrations are still to apply, and when the files and the database do not belong together."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import job_queue
from database.errors import MigrationMisnamed, MigrationRefused
from database.migrations import AppliedMigration, Migration, plan, read_migrations


def _migration(number: int) -> Migration:
    sql = f"SELECT {number}".encode()
    return Migration(name=f"{number:04}_step", sql=sql, sha256=hashlib.sha256(sql).digest())


def _applied(migration: Migration) -> AppliedMigration:
    return AppliedMigration(name=migration.name, sha256=migration.sha256)


@given(total=st.integers(0, 30), done=st.integers(0, 30))
def test_plan_continues_where_the_database_stands(total: int, done: int) -> None:
    files = tuple(_migration(number) for number in range(1, total + 1))
    applied = tuple(_applied(migration) for migration in files[:done])
    assert plan(files, applied) == files[done:]


@given(numbers=st.sets(st.integers(1, 20), min_size=1), missing=st.data())
def test_database_that_applied_what_is_gone_is_refused(numbers: set[int], missing: st.DataObject) -> None:
    files = tuple(_migration(number) for number in sorted(numbers))
    gone = missing.draw(st.sampled_from(files))
    with pytest.raises(MigrationRefused, match=gone.name):
        plan(tuple(file for file in files if file is not gone), tuple(map(_applied, files)))


@pytest.mark.parametrize("name", ["1_short.sql", "0001-dash.sql", "0001_Upper.sql", "first.sql"])
def test_file_without_a_proper_number_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(MigrationMisnamed, match=name):
        read_migrations(tmp_path)


def test_two_files_of_one_number_are_refused(tmp_path: Path) -> None:
    (tmp_path / "0001_this.sql").touch()
    (tmp_path / "0001_that.sql").touch()
    with pytest.raises(MigrationMisnamed, match="0001"):
        read_migrations(tmp_path)


def test_job_queue_upgrades_take_only_later_versions_in_order(tmp_path: Path) -> None:
    for name in ("03.02.00_01_pre_a.sql", "03.10.00_50_post_c.sql", "03.10.00_01_pre_b.sql", "baseline.sql"):
        (tmp_path / name).touch()
    found = [path.name for path, _ in job_queue.pending_files(tmp_path, after=(3, 2, 0))]
    assert found == ["03.10.00_01_pre_b.sql", "03.10.00_50_post_c.sql"]
