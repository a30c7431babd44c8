"""What all attacks have in common: a command is run, and what it must not do is looked for."""

import http.server
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from run_command import Result

Refuse = Callable[..., str]

SECRET = "the-secret-of-another-folder"


class Runs:
    """A pickle of it makes the folder `was-run` when it is opened without care."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("was-run",)


@pytest.fixture
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file outside of all that the command is given."""
    path = tmp_path_factory.mktemp("elsewhere") / "secret.txt"
    path.write_text(SECRET)
    return path


@pytest.fixture
def refuse(segx: Callable[..., Result], tmp_path: Path) -> Refuse:
    """Function that runs `segx ARGUMENTS`, which must be refused, and gives the message.

    It is one line of what was found, what was expected and what to do; nothing is written.
    """

    def run(*arguments: object) -> str:
        before = _tree(tmp_path)
        result = segx(*arguments)
        lines = [line for line in result.complaints if not line.startswith("segx: warning: ")]
        assert (result.code, len(lines)) == (1, 1), result.err
        (message,) = lines
        assert message.startswith("segx: ")
        assert message.count(";") >= 2, "found; expected; remedy"
        assert "expected" in message
        assert message.isprintable(), "nothing that steers a terminal"
        assert SECRET not in message + result.out
        assert _tree(tmp_path) == before
        return message

    return run


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """An address on this machine, and who asked it for what."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def _tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Name, size and time of all files in a folder."""
    files = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in files}
