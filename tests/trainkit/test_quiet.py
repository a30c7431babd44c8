import threading
from pathlib import Path

import pytest
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.summary.writer.record_writer import RecordWriter

from trainkit.quiet import writer_quiet


def test_a_log_that_cannot_be_written_is_told_by_the_error_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def full(self: RecordWriter, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    with pytest.raises(OSError, match="No space left"), writer_quiet():
        EventFileWriter(str(tmp_path)).flush()
    assert capfd.readouterr() == ("", "")


def test_errors_of_other_threads_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[threading.ExceptHookArgs] = []
    show = shown.append
    monkeypatch.setattr(threading, "excepthook", show)

    def fail() -> None:
        raise OSError("something else")

    with writer_quiet():
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
    assert [str(failure.exc_value) for failure in shown] == ["something else"]
    assert threading.excepthook == show
