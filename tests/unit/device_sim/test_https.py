"""A pile's HTTPS leaves no connection behind."""

import asyncio
import ssl

import httpx
import pytest

from device_sim import https

WAIT_S = 5.0


def test_a_power_cut_in_the_handshake_closes_the_connection() -> None:
    async def power_cut() -> bytes:
        rest: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def never_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readexactly(1)
            greeted.set()
            rest.set_result(await reader.read())
            writer.close()

        async def ask(port: int) -> None:
            async with https.client(ssl.create_default_context()) as client:
                await client.get(f"https://127.0.0.1:{port}/")

        greeted = asyncio.Event()
        async with (
            await asyncio.start_server(never_answer, "127.0.0.1", 0) as server,
            asyncio.timeout(WAIT_S),
        ):
            asking = asyncio.create_task(ask(server.sockets[0].getsockname()[1]))
            await greeted.wait()
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            return await rest

    assert asyncio.run(power_cut()).startswith(b"\x03"), "the rest of a ClientHello, then the end"


@pytest.mark.parametrize(
    ("asked", "least_s", "most_s"), [("7", 7.0, 7.0), (None, 0.5, 1.0), ("soon", 0.5, 1.0)]
)
def test_a_pile_asks_no_sooner_than_the_server_wants(
    asked: str | None, least_s: float, most_s: float
) -> None:
    response = httpx.Response(503, headers={} if asked is None else {"Retry-After": asked})
    assert least_s <= https.retry_s(0, response) <= most_s


@pytest.mark.parametrize(("failed", "longest_s"), [(0, 1.0), (1, 2.0), (2, 4.0), (6, 60.0), (10_000, 60.0)])
def test_waits_double_up_to_a_minute_however_often_it_failed(failed: int, longest_s: float) -> None:
    assert longest_s / 2 <= https.retry_s(failed, None) <= longest_s
