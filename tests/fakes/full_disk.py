"""A disk that is full when files are made."""

import errno
from pathlib import Path

import pytest


def fill_disk(monkeypatch: pytest.MonkeyPatch, *, at: int = 1) -> None:
    """Let the disk be full from the `at`-th new file on, after half of it was written."""
    written = 0
    real = Path.open

    def full(path: Path, mode: str = "r", **how: object) -> object:
        nonlocal written
        stream = real(path, mode, **how)  # type: ignore[call-overload]
        if "x" in mode:
            written += 1
            if written >= at:
                stream.write(b"half")
                stream.close()
                raise OSError(errno.ENOSPC, "No space left on device")
        return stream

    monkeypatch.setattr(Path, "open", full)
