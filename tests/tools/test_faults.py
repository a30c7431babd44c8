"""What the harness of faults finds: planted defects of a program that is three lines long."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tools.faults import __main__ as program
from tools.faults import case, child, faults
from tools.faults.case import Case, Reference, shimmed
from tools.faults.child import Moment, Ran, Setting, environment_of, run
from tools.faults.compare import trees_differ
from tools.faults.faults import Fault
from tools.faults.shim import Orders, Shim, build_shim, failing
from tools.faults.trial import ANEW, UNHARMED, WENT_ON, Trial, judge, make_reference, try_once
from tools.faults.warm import Warm

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)

WRITES = """
import os, pathlib, sys, time
source, out = map(pathlib.Path, sys.argv[1:])
try:
    text = source.read_text()
    {before}
    part = out.with_name(".part")
    part.write_text(text[::-1])
    time.sleep({seconds})
    part.replace(out)
except OSError as error:
    sys.exit(f"segx: {{error}}; mend it")
"""
"""A program that keeps all promises: it turns a text around."""
SLOPPY = WRITES.replace('out.with_name(".part")', "out")
"""Writes under the final name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A command of that program."""

    source: Path
    name: str = "turn"
    is_slow_to_start: bool = False

    @property
    def inputs(self) -> tuple[Path, ...]:
        return (self.source,)

    def words(self, out: Path) -> list[object]:
        return [self.source, out / "made.txt"]

    def again(self, out: Path) -> list[object]:
        return self.words(out)

    def anew(self, out: Path) -> list[object]:
        return self.words(out)

    def is_whole(self, out: Path) -> bool:
        return (out / "made.txt").exists()

    def difference(self, reference: Path, out: Path) -> str:
        return trees_differ(reference, out)

    def half(self, reference: Path, out: Path) -> str:
        return self.difference(reference, out) if self.is_whole(out) else ""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_shim(tmp_path_factory.mktemp("shim"))


Try = Callable[..., Trial]


@pytest.fixture
def attempt(library: Path, tmp_path: Path) -> Try:
    """Function that tries a fault once on a script, after a reference without one."""
    source = tmp_path / "inputs" / "a.txt"
    source.parent.mkdir()
    source.write_text("abc" * 9)
    command = Turn(source=source)

    def attempt(
        fault: Fault, script: str = WRITES, *, seconds: float = 0.0, before: str = "", **known: Any
    ) -> Trial:
        text = script.format(seconds=seconds, before=before)
        words = (sys.executable, "-S", "-c", text)
        setting = Setting(logs=tmp_path / "logs", threads=1, program=words)
        sound = replace(setting, program=(*words[:3], WRITES.format(seconds=seconds, before="")))
        found = make_reference(command, tmp_path / "references", sound, library)
        return try_once(
            command,
            fault,
            0,
            replace(found, **known),
            folder=tmp_path / f"trial-{len(list(tmp_path.glob('trial-*')))}",
            setting=setting,
            library=library,
            seed=1,
        )

    return attempt


def _fault(name: str) -> Any:
    (found,) = [fault for fault in faults.FAULTS if fault.name == name]
    return found


def _ran(code: int, *, out: str = "", err: str = "") -> Ran:
    return Ran(
        words=(), code=code, seconds=1.0, out=out, err=err, is_hung=False, acted=True, peak_bytes=0
    )


@pytest.mark.parametrize("name", ["kill -9", "SIGTERM"])
def test_a_run_that_is_stopped_is_run_again(attempt: Try, name: str) -> None:
    trial = attempt(_fault(name), seconds=1.0)
    assert (trial.failures, trial.end) == ((), WENT_ON)
    assert trial.codes == (-_fault(name).signal,)


def test_what_is_written_under_its_final_name_is_found(attempt: Try) -> None:
    script = SLOPPY.replace("text[::-1]", "text")
    trial = attempt(_fault("kill -9"), script + "part.write_text(text[::-1])\n", seconds=1.0)
    assert any("not whole under its final name" in text for text in trial.failures), trial
    assert trial.end == ""


def test_success_with_another_result_is_found(attempt: Try) -> None:
    trial = attempt(_fault("clock jumps"), before="text = text[1:]")
    assert trial.failures == ("wrong success: made.txt: its bytes differ",)


def test_a_traceback_is_found(attempt: Try) -> None:
    trial = attempt(_fault("clock jumps"), before="raise ValueError")
    assert "printed 'Traceback (most recent call last)'" in trial.failures


@pytest.mark.parametrize("kind", ["write errors", "read errors"])
def test_calls_that_fail_are_told_and_the_next_run_completes(attempt: Try, kind: str) -> None:
    fault = replace(_fault(kind), errors=(errno.EIO,))
    trial = attempt(fault, reads=1, writes=1)
    assert (trial.failures, trial.end, trial.codes) == ((), WENT_ON, (1,))
    assert "Input/output error" in trial.said


def test_an_input_that_was_cut_off_is_put_back(attempt: Try) -> None:
    trial = attempt(_fault("truncated input"))
    assert trial.failures == ("wrong success: made.txt: its bytes differ",)
    refused = "if len(text) < 27: raise OSError('too short')"
    trial = attempt(_fault("truncated input"), before=refused)
    assert (trial.failures, trial.end) == ((), WENT_ON)


def test_permissions_are_lost_even_to_root(attempt: Try) -> None:
    trial = attempt(_fault("output denied"), before="time.sleep(2)", seconds=0.0)
    assert (trial.failures, trial.end, trial.codes) == ((), WENT_ON, (1,))
    assert "Permission denied" in trial.said


def test_of_two_runs_at_once_one_must_succeed(tmp_path: Path) -> None:
    command = Turn(source=tmp_path)
    fault = faults.Twice()
    refused = _ran(1, err="segx: taken; expected one; wait\n")
    assert judge(command, fault, [refused, refused], tmp_path, tmp_path) == [
        "none of 2 runs at once succeeded"
    ]
    assert judge(command, fault, [_ran(0), refused], tmp_path, tmp_path) == []


def test_what_a_user_sees_is_judged() -> None:
    line = "segx: a is not there; expected it; put it back\n"
    assert _ran(1, err="tiles: 1/9, 2 s\nsegx: warning: slow\n" + line).faults((0, 1)) == []
    assert _ran(1, err=line + line).faults((0, 1)) != []
    assert _ran(1, err="OSError: a\n").faults((0, 1)) != []
    assert _ran(1).faults((0, 1)) != []
    assert _ran(2, err=line).faults((0, 1)) != []
    assert _ran(0, err="Exception ignored in: <x>\n").faults((0,)) != []
    assert _ran(-9).faults((-9,)) == []


def test_a_run_that_sleeps_hangs_and_one_that_works_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "HANG_S", 1.0)
    ran = []
    for text in ("import time; time.sleep(30)", "while sum(range(10**4)) and {}: pass"):
        busy = text.format("__import__('time').process_time() < 2")
        setting = Setting(
            logs=tmp_path / "logs", threads=1, program=(sys.executable, "-S", "-c", busy)
        )
        ran.append(run([], setting, out=tmp_path))
    assert [item.is_hung for item in ran] == [True, False]
    assert ran[0].seconds < 5
    assert ran[0].faults((0,))[0].startswith("hung")


def test_what_a_stopped_run_started_ends_too(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, time; "
        "subprocess.Popen(['sleep', '60']); print('x', flush=True); time.sleep(60)"
    )
    setting = Setting(logs=tmp_path, threads=1, program=(sys.executable, "-S", "-c", script))
    groups: list[int] = []

    def stop(process: int) -> None:
        groups.append(process)
        os.kill(process, signal.SIGKILL)

    assert run([], setting, moment=Moment(at_s=1.0, act=stop), out=tmp_path).code == -9
    until = time.monotonic() + 5
    while subprocess.run(["pgrep", "-g", str(groups[0])], capture_output=True).stdout:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_fork_of_a_warm_process_is_a_run_as_any_other(
    library: Path, tmp_path: Path, tiny_bundle: Path
) -> None:
    bundle = shutil.copytree(tiny_bundle, tmp_path / "tiny.segx")
    cold = Setting(logs=tmp_path / "logs", threads=1)
    words = ["inspect", bundle]
    with closing(Warm(library, tmp_path / "warm", environment_of(cold), modules=())) as warm:
        setting = replace(cold, warm=warm)
        expected, found = (run(words, item, out=tmp_path) for item in (cold, setting))
        assert (found.code, found.out, found.err) == (expected.code, expected.out, expected.err)
        assert run(["inspect", tmp_path], setting, out=tmp_path).faults((1,)) == []
        with closing(Shim(library, tmp_path / "faults", [bundle])) as shim:
            assert run(words, shimmed(setting, shim), out=tmp_path).code == 0
            shim.order(failing("reads", shim.counts.reads + 1, errno.EIO, stays=True))
            assert run(words, shimmed(setting, shim), out=tmp_path).code == 1
        (bundle / "manifest.json").chmod(0o000)
        denied = run(words, replace(setting, is_bound=True), out=tmp_path)
        (bundle / "manifest.json").chmod(0o644)
        assert (denied.code, denied.faults((1,))) == (1, [])
        kill = Moment(at_s=0.0, act=lambda process: os.kill(process, signal.SIGKILL))
        assert run(words, setting, moment=kill, out=tmp_path).code == -9


COUNTS = """
import os, sys
good = []
for number in range(4):
    try:
        with open(sys.argv[1] + f'/{number}', 'wb', buffering=0) as file:
            file.write(b'x')
            os.fsync(file.fileno())
        good.append(number)
    except OSError as error:
        print(error.errno, end=' ')
print(good)
"""


def _shimmed(shim: Shim, script: str, *words: object) -> str:
    command = [sys.executable, "-S", "-c", script, *map(str, words)]
    environment = {**os.environ, **shim.environment}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_calls_are_counted_and_fail_below_the_folders_alone(library: Path, tmp_path: Path) -> None:
    below, beside = tmp_path / "below", tmp_path / "below-not"
    for folder in (below, beside):
        folder.mkdir()
    with closing(Shim(library, tmp_path / "faults", [below])) as shim:
        assert _shimmed(shim, COUNTS, below) == "[0, 1, 2, 3]"
        counts = shim.counts
        assert (counts.writes, counts.fired) == (12, 0)
        shim.order(failing("writes", counts.writes + 5, errno.ENOSPC, stays=False))
        assert _shimmed(shim, COUNTS, below) == f"{errno.ENOSPC} [0, 2, 3]"
        assert shim.counts.fired == 1
    with closing(Shim(library, tmp_path / "faults", [below])) as shim:
        shim.order(failing("writes", 5, errno.EIO, stays=True))
        assert _shimmed(shim, COUNTS, beside) == "[0, 1, 2, 3]"
        assert _shimmed(shim, COUNTS, below) == f"{errno.EIO} {errno.EIO} {errno.EIO} [0]"


def test_rasters_fail_too(library: Path, tmp_path: Path, tiny_scene: Path) -> None:
    script = """
import sys, rasterio
with rasterio.open(sys.argv[1]) as raster:
    try:
        raster.read()
        print('read')
    except rasterio.errors.RasterioIOError:
        print('refused')
"""
    path = tiny_scene / "aerial.tif"
    script = f"import site; site.addsitedir({str(Path(np.__file__).parents[1])!r})\n{script}"
    with closing(Shim(library, tmp_path / "faults", [tiny_scene])) as shim:
        assert _shimmed(shim, script, path) == "read"
        reads = shim.counts.reads
        assert reads > 1
        shim.order(failing("reads", 2 * reads, errno.EIO, stays=True))
        assert _shimmed(shim, script, path) == "refused"


def test_the_wall_clock_jumps_and_the_other_does_not(library: Path, tmp_path: Path) -> None:
    script = "import time; print(time.time(), time.monotonic())"
    with closing(Shim(library, tmp_path / "faults", [tmp_path])) as shim:
        before = [float(text) for text in _shimmed(shim, script).split()]
        shim.order(Orders(shift_s=-7200))
        after = [float(text) for text in _shimmed(shim, script).split()]
    assert after[0] - before[0] == pytest.approx(-7200, abs=60)
    assert after[1] - before[1] == pytest.approx(0, abs=60)


def test_folders_are_compared_but_for_times(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder, year in ((one, 2020), (other, 2021)):
        folder.mkdir()
        content = {"created": year, "parts": [{"started": year, "n": 1}]}
        (folder / "a.json").write_text(json.dumps(content))
        (folder / "w.bin").write_bytes(b"weights")
        (folder / f".a.{year}.part").touch()
        (folder / f"version_{year}").mkdir()
        np.savez(folder / "golden.npz", x=np.arange(3))
    assert trees_differ(one, other) == ""
    (other / "w.bin").write_bytes(b"Weights")
    assert trees_differ(one, other) == "w.bin: its bytes differ"
    shutil.copyfile(one / "w.bin", other / "w.bin")
    np.savez(other / "golden.npz", x=np.arange(1, 4))
    assert trees_differ(one, other) == "golden.npz: arrays ['x'] differ"
    (other / "a.json").write_text(json.dumps({"parts": [{"n": 2}]}))
    assert trees_differ(one, other) == "a.json: keys ['parts'] differ"
    (other / "more").touch()
    assert "more" in trees_differ(one, other)


def test_a_run_that_ends_before_its_moment_is_started_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = [replace(_ran(0), acted=False), _ran(-9)] + [replace(_ran(0), acted=False)] * 5
    reference = Reference(out=tmp_path, seconds=4.0, peak_bytes=1, reads=1, writes=1)
    moments: list[float] = []

    def start(*_: object, moment: Moment, **__: object) -> Ran:
        moments.append(moment.at_s)
        return found.pop(0)

    monkeypatch.setattr(case, "run", start)
    trial = Case(
        command=Turn(source=tmp_path),
        reference=reference,
        out=tmp_path,
        setting=Setting(logs=tmp_path, threads=1),
        chance=random.Random(1),
        library=tmp_path,
        undo=ExitStack(),
    )
    assert [ran.code for ran in _fault("kill -9").inflict(trial)] == [-9]
    with pytest.raises(SystemExit, match="5 runs ended before"):
        _fault("kill -9").inflict(trial)
    assert len(set(moments)) == 7
    assert all(0 <= moment <= 4 for moment in moments)


def test_trials_are_summed_up_by_command_and_fault() -> None:
    trial = Trial(
        command="train",
        fault="kill -9",
        number=0,
        told="",
        codes=(-9,),
        said="",
        end=WENT_ON,
        failures=(),
        seconds=1.0,
    )
    trials = [
        trial,
        replace(trial, end=UNHARMED),
        replace(trial, end="", failures=("hung",)),
        replace(trial, command="infer", end=ANEW),
    ]
    assert program.rows_of(trials) == [
        ("train", "kill -9", "3", "1", "1", "0", "1"),
        ("infer", "kill -9", "1", "0", "0", "1", "0"),
    ]
