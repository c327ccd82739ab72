"""A pile's HTTPS leaves no connection behind."""

import asyncio
import ssl

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
