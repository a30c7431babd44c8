import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from build_case import BuildCase, make_part

from runtime.engines.build import BuildRequest, Built, build_engine
from runtime.engines.options import BuildOptions
from runtime.engines.profiles import ShapeRange, batch_profile
from runtime.errors import BackendError, ConfigError, DeviceMemoryError, EngineError

STUB = """
import json, os, signal, sys, time
job = json.load(open(sys.argv[1]))
def tell(percent, phase):
    print(json.dumps([percent, phase]), flush=True)
def write(content=b"engine"):
    open(job["engine"], "wb").write(content)
def finish(error="", kind="", notes=(), summary=None):
    outcome = {"error": error, "kind": kind, "notes": notes, "summary": summary}
    json.dump(outcome, open(job["outcome"], "w"))
"""
"""What a stand-in for the worker starts with."""


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildCase:
    """A build by TensorRT 10.3, in the environment of this process."""
    made = BuildCase(folder=tmp_path, version="10.3.0")
    for key, value in made.environment.items():
        monkeypatch.setenv(key, value)
    return made


@pytest.fixture
def stub(case: BuildCase, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let a build run other code than the worker's."""

    def build(code: str, **arguments: Any) -> Built:
        program = case.folder / "stub.py"
        program.write_text(STUB + code)
        monkeypatch.setattr("runtime.engines.build._COMMAND", (sys.executable, str(program)))
        return case.build(**arguments)

    return build


# Before the child starts


def test_a_profile_that_does_not_fit_is_refused_before_anything_starts(
    case: BuildCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.engines.build._COMMAND", ("/does/not/exist",))
    request = BuildRequest(
        onnx=tmp_path / "missing.onnx",
        part=make_part(),
        target=case.target(),
        profile={"tile": ShapeRange(min=(1, 3, 8, 8), opt=(1, 3, 8, 8), max=(1, 3, 9, 8))},
        options=BuildOptions(),
        timing_cache=None,
    )
    with pytest.raises(ConfigError, match=r"max shape of 'tile' is \(1, 3, 9, 8\)"):
        build_engine(request, case.out, on_progress=print)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workspace_mib": 0}, "the workspace is 0 MiB; expected at least 1"),
        ({"optimization_level": 6}, "the optimisation level is 6; expected 0 "),
        ({"optimization_level": -1}, "the optimisation level is -1; expected 0 "),
        ({"time_limit_s": 0.0}, "the time limit is 0 s; expected more than 0"),
        ({"time_limit_s": float("nan")}, "the time limit is nan s; expected more than 0"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_starts(
    options: dict[str, Any], message: str, case: BuildCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.engines.build._COMMAND", ("/does/not/exist",))
    with pytest.raises(ConfigError, match=message):
        case.build(**options)


# What the child is given


def test_the_child_is_given_whole_paths_and_the_first_workspace(stub: Any, case: BuildCase) -> None:
    copy = case.folder / "copy.json"
    stub(
        f"import shutil; shutil.copy(sys.argv[1], {str(copy)!r}); write(); finish()",
        timing_cache=Path(os.path.relpath(case.folder / "timing.cache")),
        workspace_mib=300,
        optimization_level=1,
    )
    job = json.loads(copy.read_text())
    assert job["timing_cache"] == str(case.folder / "timing.cache")
    assert Path(job["onnx"]).is_absolute()
    assert Path(job["engine"]).parent.parent == case.out.parent
    assert (job["workspace_mib"], job["optimization_level"]) == (300, 1)


@pytest.mark.parametrize(("builder", "expected"), [("tensorrt", []), ("tensorrt-rtx", ["1"])])
def test_polygraphy_takes_the_builder_that_is_meant_and_no_other_settings(
    builder: str,
    expected: list[str],
    stub: Any,
    case: BuildCase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYGRAPHY_USE_TENSORRT_RTX", "0")
    monkeypatch.setenv("POLYGRAPHY_AUTOINSTALL_DEPS", "1")
    monkeypatch.setenv("OTHER", "kept")
    before = dict(os.environ)
    seen = case.folder / "environment.json"
    stub(
        f"json.dump(dict(os.environ), open({str(seen)!r}, 'w')); write(); finish()",
        target={"builder": builder},
    )
    found = json.loads(seen.read_text())
    ours = {key: value for key, value in found.items() if key.startswith("POLYGRAPHY")}
    assert list(ours.values()) == expected
    assert set(ours) <= {"POLYGRAPHY_USE_TENSORRT_RTX"}
    assert found["OTHER"] == "kept"
    assert dict(os.environ) == before


# How it ends


def test_an_engine_appears_with_what_its_builder_noted(stub: Any, case: BuildCase) -> None:
    built = stub("write(b'12345'); finish(notes=['a note'])")
    assert case.out.read_bytes() == b"12345"
    assert (built.size_bytes, built.notes, built.summary) == (5, ("a note",), None)
    assert case.left() == ["aerial.engine"]


def test_an_engine_replaces_the_one_before(stub: Any, case: BuildCase) -> None:
    case.out.write_bytes(b"before")
    stub("write(); finish()")
    assert case.out.read_bytes() == b"engine"


CRASHES = {
    "a crash": (
        "write(); os.abort()",
        "the build of part 'aerial' by tensorrt ended with signal 6: no message; expected an "
        "engine within 7200 s; see `segx doctor`",
    ),
    "a crash with words": (
        "write(); sys.exit('Segmentation fault in libnvinfer')",
        "ended with code 1: Segmentation fault in libnvinfer; expected an engine",
    ),
    "a library that ends the process": (
        "write()",
        "the build of part 'aerial' by tensorrt ended without saying how it went ([Errno 2]",
    ),
    "half an outcome": (
        "write(); open(job['outcome'], 'w').write('[')",
        "ended without saying how it went (Expecting value",
    ),
    "an error of the worker's own": (
        "write(); finish(error='found; expected; mend', kind='EngineError')",
        "found; expected; mend",
    ),
    "an error of a class that is not passed on": (
        "write(); finish(error='found; expected; mend', kind='ZeroDivisionError')",
        "found; expected; mend",
    ),
}


@pytest.mark.parametrize("crash", CRASHES)
def test_a_build_that_fails_leaves_what_was_there(crash: str, stub: Any, case: BuildCase) -> None:
    code, message = CRASHES[crash]
    case.out.write_bytes(b"before")
    with pytest.raises(EngineError) as caught:
        stub(code)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert case.out.read_bytes() == b"before"
    assert case.left() == ["aerial.engine"]


def test_a_missing_library_is_an_error_of_its_own_class(stub: Any) -> None:
    with pytest.raises(BackendError, match="found; expected; mend"):
        stub("finish(error='found; expected; mend', kind='BackendError')")


def test_a_build_that_takes_too_long_is_ended(stub: Any, case: BuildCase) -> None:
    with pytest.raises(EngineError, match=r"took more than 1.5 s; expected an engine within 1.5 s"):
        stub("tell(10, 'timing'); time.sleep(600)", time_limit_s=1.5)
    assert case.left() == []


def test_attempts_share_the_time_limit(stub: Any) -> None:
    code = "time.sleep(1); finish(error='out of memory', kind='DeviceMemoryError')"
    with pytest.raises(
        EngineError, match=r"took more than 0.[0-9] s; expected an engine within 1.5 s"
    ):
        stub(code, time_limit_s=1.5)


def test_a_folder_that_is_not_there_is_named(case: BuildCase, tmp_path: Path) -> None:
    request = BuildRequest(
        onnx=tmp_path / "aerial.onnx",
        part=make_part(),
        target=case.target(),
        profile=batch_profile(make_part()),
        options=BuildOptions(),
        timing_cache=None,
    )
    out = tmp_path / "missing" / "aerial.engine"
    with pytest.raises(EngineError, match=r"aerial.engine cannot be written \(.*\); expected room"):
        build_engine(request, out, on_progress=print)


def test_a_target_that_cannot_be_replaced_is_named(stub: Any, case: BuildCase) -> None:
    case.out.mkdir()
    with pytest.raises(EngineError, match=r"aerial.engine cannot be written \(.*\); expected room"):
        stub("write(); finish()")
    assert case.left() == ["aerial.engine"]


# Progress


def test_progress_never_falls_and_ends_with_all(stub: Any, case: BuildCase) -> None:
    stub(
        "print('printed by a library'); print(12); tell(5, 'a'); tell(30, 'b'); tell(30, 'c')\n"
        "tell(20, 'd'); tell(40, 'e'); write(); finish()"
    )
    assert case.progress == [
        (0, 100, "reading the graph"),
        (5, 100, "a"),
        (30, 100, "b"),
        (40, 100, "e"),
        (100, 100, "done"),
    ]


def test_a_listener_that_stops_ends_the_build(stub: Any, case: BuildCase) -> None:
    class Stop:
        def append(self, told: tuple[int, int, str]) -> None:
            if told[0]:
                raise KeyboardInterrupt

    case.progress = Stop()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        stub("tell(5, 'a'); time.sleep(600)")
    assert case.left() == []


# Memory

RUNS_OUT = """
tell(job["workspace_mib"] % 90, "building")
if job["workspace_mib"] > {limit}:
    {fails}
write()
finish()
"""
FAILS = {
    "an error": "finish(error='no memory', kind='DeviceMemoryError'); sys.exit(0)",
    "a kill": "os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("fails", FAILS.values(), ids=FAILS)
def test_a_build_that_runs_out_of_memory_is_tried_again_with_half_the_workspace(
    fails: str, stub: Any, case: BuildCase, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        built = stub(RUNS_OUT.format(limit=1000, fails=fails))
    assert built.workspace_mib == 512
    assert built.notes == (
        "out of memory with 4096 MiB of workspace, tried again with 2048 MiB",
        "out of memory with 2048 MiB of workspace, tried again with 1024 MiB",
        "out of memory with 1024 MiB of workspace, tried again with 512 MiB",
    )
    assert all(note in caplog.text for note in built.notes)
    percents = [percent for percent, _, _ in case.progress]
    assert percents == sorted(set(percents))


@pytest.mark.parametrize(("first", "tried"), [(1024, 3), (600, 2), (511, 1), (100, 1)])
@pytest.mark.parametrize("fails", FAILS.values(), ids=FAILS)
def test_memory_that_runs_out_down_to_the_least_workspace_is_an_error(
    fails: str, first: int, tried: int, stub: Any, case: BuildCase
) -> None:
    tries = case.folder / "tries"
    with pytest.raises(DeviceMemoryError) as caught:
        stub(
            f"open({str(tries)!r}, 'a').write('x')\n" + RUNS_OUT.format(limit=0, fails=fails),
            workspace_mib=first,
        )
    assert len(tries.read_text()) == tried
    assert "\n" not in str(caught.value)
    assert case.left() == []


@pytest.mark.parametrize(
    "variable", ["FAKE_TENSORRT_OOM_ABOVE_MIB", "FAKE_TENSORRT_KILLED_ABOVE_MIB"]
)
def test_a_real_worker_that_runs_out_of_memory_is_tried_again(
    variable: str, case: BuildCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "600")
    built = case.build(workspace_mib=1024)
    assert built.workspace_mib == 512
    assert built.notes == ("out of memory with 1024 MiB of workspace, tried again with 512 MiB",)
    assert case.left() == ["aerial.engine"]


def test_a_real_worker_tells_what_ran_out(case: BuildCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_TENSORRT_OOM_ABOVE_MIB", "0")
    with pytest.raises(
        DeviceMemoryError, match=r"OutOfMemory .*; expected more free memory; close"
    ):
        case.build(workspace_mib=256)


def test_a_graph_that_is_not_there_is_named(case: BuildCase, tmp_path: Path) -> None:
    request = BuildRequest(
        onnx=tmp_path / "missing.onnx",
        part=make_part(),
        target=case.target(),
        profile=batch_profile(make_part()),
        options=BuildOptions(),
        timing_cache=None,
    )
    with pytest.raises(EngineError, match=r"cannot read part 'aerial' .*missing.onnx"):
        build_engine(request, case.out, on_progress=lambda *told: None)
