from pathlib import Path

import pytest

from runtime.alone import alone
from runtime.engines import lock
from runtime.errors import BusyError


def test_the_second_one_is_refused_and_the_next_one_is_let_in(tmp_path: Path) -> None:
    file, out = tmp_path / ".lock", tmp_path / "out"
    with alone(file, making=out) as is_alone:
        assert is_alone
        with (
            pytest.raises(BusyError, match=rf"{out} is being written by another process; .*; wait"),
            alone(file, making=out),
        ):
            pass
        assert file.exists()
    assert not file.exists()
    with alone(file, making=out):
        pass


def test_the_lock_goes_after_an_error_which_comes_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), alone(tmp_path / ".lock", making=tmp_path):
        raise ZeroDivisionError
    assert not any(tmp_path.iterdir())


def test_a_killed_process_s_lock_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with alone(tmp_path / ".lock", making=tmp_path) as is_alone:
        assert is_alone


def test_a_disk_without_locks_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(number: int) -> bool:
        raise OSError

    monkeypatch.setattr(lock, "_lock", refuse)
    with alone(tmp_path / ".lock", making=tmp_path) as is_alone:
        assert not is_alone
