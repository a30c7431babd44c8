import os
import sys
import time
from pathlib import Path

import pytest

from runtime.child import Ended, run_child


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_program_that_succeeds_ends_without_a_reason(tmp_path: Path) -> None:
    assert run_child(python("print('x')"), time_limit_s=60, folder=tmp_path) == Ended()


def test_a_program_runs_in_its_folder(tmp_path: Path) -> None:
    run_child(python("open('here', 'w').close()"), time_limit_s=60, folder=tmp_path)
    assert (tmp_path / "here").exists()


def test_a_failure_is_told_with_the_last_line_that_was_said(tmp_path: Path) -> None:
    code = "import sys; print('first', file=sys.stderr); sys.exit('last words')"
    ended = run_child(python(code), time_limit_s=60, folder=tmp_path)
    assert ended == Ended(reason="ended with code 1: last words", signal=None)


def test_a_failure_without_words_says_so(tmp_path: Path) -> None:
    ended = run_child(python("import sys; sys.exit(3)"), time_limit_s=60, folder=tmp_path)
    assert ended.reason == "ended with code 3: no message"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals on Windows")
def test_a_signal_is_named(tmp_path: Path) -> None:
    code = "import os; os.kill(os.getpid(), 9)"
    ended = run_child(python(code), time_limit_s=60, folder=tmp_path)
    assert ended == Ended(reason="ended with signal 9: no message", signal=9)


def test_a_program_that_cannot_be_started_is_told(tmp_path: Path) -> None:
    ended = run_child(["/does/not/exist"], time_limit_s=60, folder=tmp_path)
    assert ended.reason == "cannot be started (No such file or directory)"


@pytest.mark.parametrize("listens", [True, False])
def test_a_program_that_takes_too_long_is_ended(listens: bool, tmp_path: Path) -> None:
    code = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
    start = time.monotonic()
    ended = run_child(
        python(code), time_limit_s=1.5, folder=tmp_path, on_line=print if listens else None
    )
    assert ended == Ended(reason="took more than 1.5 s", signal=None)
    assert time.monotonic() - start < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_lines_arrive_while_the_program_runs(tmp_path: Path) -> None:
    # The program ends only once its first line has been answered.
    code = (
        "import pathlib, time\n"
        "print('ready', flush=True)\n"
        "while not pathlib.Path('answer').exists(): time.sleep(0.01)\n"
        "print('a\\nb')\n"
    )
    lines = []

    def answer(line: str) -> None:
        lines.append(line)
        (tmp_path / "answer").touch()

    ended = run_child(python(code), time_limit_s=60, folder=tmp_path, on_line=answer)
    assert ended == Ended()
    assert lines == ["ready", "a", "b"]


def test_much_output_on_both_streams_blocks_nothing(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "for i in range(3000):\n"
        "    print('x' * 1000)\n"
        "    print('y' * 1000, file=sys.stderr)\n"
        "sys.exit('the end')"
    )
    lines: list[str] = []
    ended = run_child(python(code), time_limit_s=60, folder=tmp_path, on_line=lines.append)
    assert ended.reason == "ended with code 1: the end"
    assert len(lines) == 3000


def test_bytes_that_are_no_text_are_replaced(tmp_path: Path) -> None:
    code = "import os, sys; os.write(1, b'\\xff\\n'); os.write(2, b'\\xff'); sys.exit(1)"
    lines: list[str] = []
    ended = run_child(python(code), time_limit_s=60, folder=tmp_path, on_line=lines.append)
    assert (lines, ended.reason) == (["�"], "ended with code 1: �")


def test_an_error_of_the_listener_ends_the_program(tmp_path: Path) -> None:
    code = (
        "import os, time\n"
        "open('pid', 'w').write(str(os.getpid()))\n"
        "print('x', flush=True)\n"
        "time.sleep(600)"
    )

    def refuse(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_child(python(code), time_limit_s=60, folder=tmp_path, on_line=refuse)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_a_program_that_leaves_another_one_running_has_ended_all_the_same(tmp_path: Path) -> None:
    child = "import time; time.sleep(20)"
    code = (
        f"import subprocess, sys; print('x'); subprocess.Popen([sys.executable, '-c', {child!r}])"
    )
    lines: list[str] = []
    start = time.monotonic()
    ended = run_child(python(code), time_limit_s=60, folder=tmp_path, on_line=lines.append)
    assert (lines, ended) == (["x"], Ended())
    assert time.monotonic() - start < 15


def test_the_environment_is_the_one_that_was_given(tmp_path: Path) -> None:
    code = "import os; print(sorted(k for k in os.environ if k != 'LC_CTYPE'))"
    lines: list[str] = []
    run_child(
        python(code),
        time_limit_s=60,
        folder=tmp_path,
        environment={"ONLY": "this"},
        on_line=lines.append,
    )
    assert lines == ["['ONLY']"]
