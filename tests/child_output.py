"""What a child process says on its standard output, waited for with a limit."""

import subprocess
from threading import Thread

LIMIT_S = 30.0


def line_of(process: "subprocess.Popen[str]", begins: str = "", *, limit_s: float = LIMIT_S) -> str:
    """The next line that begins so, without its end; the process is killed where none comes within `limit_s` seconds.

    Raises AssertionError with what it said instead.
    """
    assert process.stdout is not None
    source, said = process.stdout, list[str]()

    def listen() -> None:
        for line in source:
            said.append(line.rstrip("\n"))
            if line.startswith(begins):
                return

    listener = Thread(target=listen, daemon=True)
    listener.start()
    listener.join(limit_s)
    if said and said[-1].startswith(begins):
        return said[-1]
    late = listener.is_alive()
    process.kill()
    code = process.wait(limit_s)
    ending = f"nothing within {limit_s:.0f} s" if late else f"an end with code {code}"
    told = "\n".join(said) or "(it said nothing)"
    raise AssertionError(f"{ending} instead of a line that begins {begins!r}; it said:\n{told}")
