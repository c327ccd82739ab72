"""`pileway bench growth` fills a table, reads it, tells its figures, keeps what it is told to. No time is judged."""

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

LIMIT_S = 180
TIMES = ("curve_ms_p50", "curve_ms_p95", "site_day_ms_p50", "site_day_ms_p95", "site_today_ms_p95")


def _bench(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PILEWAY_")}
    return subprocess.run(
        [sys.executable, "-m", "pileway", "bench", "growth", "--home", str(folder / "home"), *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=bare,
        check=False,
    )


def test_bench_fills_a_database_of_its_own_and_ends_with_its_figures(
    empty_dsn: str, work_folder: Path
) -> None:
    done = _bench("--samples", "25000", "--database-url", empty_dsn, "--json", folder=work_folder)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["piles"], told["days"]) == (1, 2)
    assert 5_000 < told["samples"] < 40_000
    assert told["curve_points"] == 1440
    assert all(told[name] > 0 for name in TIMES)
    assert told["ratio_to_empty"] > 0
    assert told["bytes_before"]["meter_sample"] > 100 * told["samples"]
    with psycopg.connect(empty_dsn, connect_timeout=10) as conn:
        left = conn.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'pileway_bench_growth_%'")
        assert left.fetchone() == (0,)
        tables = conn.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)


def test_a_grown_database_that_is_kept_is_measured_again_and_not_grown(
    empty_dsn: str, work_folder: Path
) -> None:
    name = f"pileway_kept_{uuid.uuid4().hex[:8]}"
    keep = ("--database-url", empty_dsn, "--keep", name, "--json")
    try:
        told: list[dict[str, Any]] = []
        for samples in ("12000", "9000000"):
            done = _bench("--samples", samples, *keep, folder=work_folder)
            assert done.returncode == 0, done.stderr
            told.append(json.loads(done.stdout.splitlines()[-1]))
        first, again = told
        assert again["samples"] == first["samples"] < 15_000
        assert again["bytes_before"] == first["bytes_before"]
        assert again["grown_samples_per_s"] > 0
    finally:
        with psycopg.connect(empty_dsn, autocommit=True, connect_timeout=10) as conn:
            conn.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def test_what_was_not_grown_to_its_end_is_not_measured(empty_dsn: str, work_folder: Path) -> None:
    name = conninfo_to_dict(empty_dsn)["dbname"]
    done = _bench("--database-url", empty_dsn, "--keep", str(name), folder=work_folder)
    assert done.returncode != 0
    assert (
        done.stderr
        == f"pileway: the database {name} was not grown to its end; drop it, or keep another name\n"
    )


def test_bench_says_in_a_line_that_its_server_is_not_there(work_folder: Path) -> None:
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    done = _bench("--samples", "1000", "--database-url", nowhere, folder=work_folder)
    assert done.returncode != 0
    assert done.stderr.startswith("pileway: the database cannot be reached")


def test_bench_says_in_a_line_what_an_address_looks_like(work_folder: Path) -> None:
    done = _bench("--samples", "1000", "--database-url", "secret-word", folder=work_folder)
    assert done.returncode == 2
    assert "must be like postgresql://" in done.stderr
    assert "secret-word" not in done.stderr


def test_bench_says_in_a_line_that_its_role_may_make_no_database(empty_dsn: str, work_folder: Path) -> None:
    role = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(empty_dsn, autocommit=True, connect_timeout=10) as conn:
        name = sql.Identifier(role)
        conn.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'poor'").format(name))
        try:
            poor_dsn = make_conninfo(empty_dsn, user=role, password="poor")
            done = _bench("--samples", "1000", "--database-url", poor_dsn, folder=work_folder)
        finally:
            conn.execute(sql.SQL("DROP ROLE {}").format(name))
    assert done.returncode != 0
    assert done.stderr == "pileway: the database does not let us: permission denied to create database\n"
