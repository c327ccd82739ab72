"""The person at the terminal, who is asked to do to a pile what the wire cannot."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from conformance.case import NotPossible

ASK_LIMIT_S: Final = 300.0
SKIP: Final = "s"


class Attendant:
    """Asks on standard output and reads standard input, one line an answer."""

    def __init__(self, tell: Callable[[str], None], *, limit_s: float = ASK_LIMIT_S) -> None:
        self._tell = tell
        self._limit_s = limit_s
        self._lines: asyncio.StreamReader | None = None

    async def ask(self, what: str) -> None:
        """Ask for one deed and wait until it is done. Raises NotPossible when it is not."""
        self._tell(f"  >> Please {what}. Enter when done, {SKIP} and Enter to skip.")
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await (await self._input()).readline()
        except TimeoutError:
            raise NotPossible(f"nobody answered within {self._limit_s:.0f} s: {what}") from None
        if not answer or answer.decode(errors="replace").strip().lower() == SKIP:
            raise NotPossible(f"skipped by hand: {what}")

    async def _input(self) -> asyncio.StreamReader:
        if self._lines is None:
            self._lines = asyncio.StreamReader()
            reader = self._lines
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
            )
        return self._lines
