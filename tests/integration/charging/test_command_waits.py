"""Whoever waits for a command hears of its end at once, and goes empty-handed when the time is up."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from psycopg_pool import ConnectionPool

from charging import command_answers, command_waits, commands
from charging.command_answers import Answer
from charging.command_waits import MAX_WAITERS, CommandWaits
from charging.commands import CommandKind, CommandState
from charging.errors import CommandUnknown
from database.pool import Connection
from pileway import street
from tests.integration.charging.stand import NOW, PILE
from tests.waiting import wait_until


@pytest.fixture
def outcomes(dsn: str, pool: ConnectionPool[Connection]) -> Generator[CommandWaits]:
    with pool.connection() as conn:
        street.lay_out(conn, now=NOW - timedelta(days=1))
    with CommandWaits(dsn, pool) as outcomes:
        yield outcomes


def _ask(pool: ConnectionPool[Connection]) -> UUID:
    with pool.connection() as conn:
        return commands.enqueue(
            conn,
            pile_id=PILE,
            kind=CommandKind.REBOOT,
            body={"force": False},
            session_id=None,
            expires_at=NOW + timedelta(seconds=30),
            now=NOW,
        )


def _answer(pool: ConnectionPool[Connection], command_id: UUID, *, cause: str | None = None) -> None:
    result = "refused" if cause else "accepted"
    with pool.connection() as conn:
        command_answers.take(
            conn,
            [
                Answer(
                    command_id,
                    PILE,
                    done=cause is None,
                    result=result,
                    cause=cause,
                    received_at=NOW,
                    of_service=True,
                )
            ],
        )


def _is_waited_for(dsn: str, pool: ConnectionPool[Connection]) -> bool:
    with pool.connection() as conn:
        row = conn.execute(
            "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pileway command waits' AND state = 'idle'"
        ).fetchone()
    return row is not None


def test_answers_refusals_and_deadlines_reach_who_waits(
    outcomes: CommandWaits, pool: ConnectionPool[Connection], dsn: str
) -> None:
    accepted, refused, expired = (_ask(pool) for _ in range(3))
    wait_until(lambda: _is_waited_for(dsn, pool))
    with ThreadPoolExecutor(3) as threads:
        waiting = [
            threads.submit(outcomes.outcome, command_id, wait_s=25)
            for command_id in (accepted, refused, expired)
        ]
        _answer(pool, accepted)
        _answer(pool, refused, cause="update_running")
        with pool.connection() as conn:
            commands.expire(conn, limit=5, now=NOW + timedelta(seconds=30))
        ended = [future.result(timeout=20) for future in waiting]
    assert [record.state for record in ended] == [
        CommandState.DONE,
        CommandState.REFUSED,
        CommandState.EXPIRED,
    ]
    assert ended[1].result == {"result": "refused", "cause": "update_running"}


def test_a_waiter_is_woken_and_does_not_only_look(
    outcomes: CommandWaits, pool: ConnectionPool[Connection], dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_waits, "LOOK_S", 600.0)
    command_id = _ask(pool)
    wait_until(lambda: _is_waited_for(dsn, pool))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(outcomes.outcome, command_id, wait_s=25)
        wait_until(waiting.running)
        _answer(pool, command_id)
        assert waiting.result(timeout=20).state is CommandState.DONE


def test_when_the_time_is_up_the_command_comes_as_it_is(
    outcomes: CommandWaits, pool: ConnectionPool[Connection]
) -> None:
    command_id = _ask(pool)
    assert outcomes.outcome(command_id, wait_s=0).state is CommandState.PENDING
    assert outcomes.outcome(command_id, wait_s=0.2).state is CommandState.PENDING
    with pytest.raises(CommandUnknown):
        outcomes.outcome(uuid4(), wait_s=5)


def test_one_waiter_too_many_does_not_wait(outcomes: CommandWaits, pool: ConnectionPool[Connection]) -> None:
    command_id = _ask(pool)
    with ThreadPoolExecutor(MAX_WAITERS + 1) as threads:
        waiting = [threads.submit(outcomes.outcome, command_id, wait_s=25) for _ in range(MAX_WAITERS + 1)]
        wait_until(lambda: any(future.done() for future in waiting))
        assert sum(future.done() for future in waiting) == 1
        _answer(pool, command_id)
        states = [future.result(timeout=20).state for future in waiting]
    assert sorted(states) == [CommandState.DONE] * MAX_WAITERS + [CommandState.PENDING]


def test_closing_lets_every_waiter_go(outcomes: CommandWaits, pool: ConnectionPool[Connection]) -> None:
    command_id = _ask(pool)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(outcomes.outcome, command_id, wait_s=25)
        outcomes.close()
        assert waiting.result(timeout=20).state is CommandState.PENDING
