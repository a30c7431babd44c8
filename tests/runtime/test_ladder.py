"""The best library that can run a bundle is taken, and every better one has its reason."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from runtime import ladder
from runtime.backends import Backend, PassedOver
from runtime.bundle import Bundle, open_bundle
from runtime.engines.compiled import CompiledGraphs
from runtime.engines.options import EnginePolicy
from runtime.errors import (
    BackendError,
    BundleError,
    CollapsedError,
    ConfigError,
    DeviceError,
    DeviceMemoryError,
    EngineError,
    SegxError,
)
from runtime.ladder import RunRequest, Watch, open_best
from runtime.selftest import SelfTest

LADDER = get_args(Backend)
Setup = Callable[..., None]


class Model:
    """A model that can only be closed."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Machine:
    """What goes wrong with each backend, and what was opened."""

    def __init__(self) -> None:
        self.unusable: dict[str, SegxError] = {}
        self.unopened: dict[str, SegxError] = {}
        self.wrong: dict[str, SegxError] = {}
        self.tried: list[str] = []
        self.models: dict[str, Model] = {}
        self.asked: dict[str, Any] = {}
        self.on_doubt: object = None

    def usable(self, name: str, cuda: str, *, on_doubt: object) -> str:
        self.tried.append(name)
        self.on_doubt = on_doubt
        if name in self.unusable:
            raise self.unusable[name]
        return f"device of {name}"

    def open(self, name: str, **asked: Any) -> Model:
        self.asked = asked
        if name in self.unopened:
            raise self.unopened[name]
        self.models[name] = Model()
        return self.models[name]

    def test(self, model: Model, bundle: Bundle, name: str) -> SelfTest:
        assert self.models[name] is model
        if name in self.wrong:
            raise self.wrong[name]
        return SelfTest(agreement=1.0, seconds=0.5)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine on which every backend works until the test says otherwise."""
    made = Machine()
    monkeypatch.setattr(ladder, "require_usable", made.usable)
    monkeypatch.setattr(
        ladder, "open_model", lambda bundle, choice, **asked: made.open(choice.name, **asked)
    )
    monkeypatch.setattr(
        "runtime.gpu.open.open_gpu_model", lambda bundle, name, **asked: made.open(name, **asked)
    )
    monkeypatch.setattr(ladder, "self_test", made.test)
    return made


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


def test_the_first_that_works_is_taken(opened: Bundle, machine: Machine) -> None:
    found = open_best(opened, RunRequest())
    assert found.model is machine.models["tensorrt"]  # type: ignore[comparison-overlap]
    assert (found.choice.name, found.choice.device) == ("tensorrt", "device of tensorrt")
    assert (found.choice.passed_over, found.choice.reason) == ((), "the best that can be used")
    assert found.self_test == SelfTest(agreement=1.0, seconds=0.5)
    assert found.load_s > 0
    assert machine.tried == ["tensorrt"]


@pytest.mark.parametrize("place", range(1, len(LADDER)))
def test_each_better_one_is_passed_over_with_its_reason(
    opened: Bundle, machine: Machine, place: int
) -> None:
    for name in LADDER[:place]:
        machine.unusable[name] = BackendError(f"{name} is not there; expected it; get it")
    choice = open_best(opened, RunRequest()).choice
    assert choice.name == LADDER[place]
    assert choice.passed_over == tuple(
        PassedOver(name=name, reason=f"{name} is not there") for name in LADDER[:place]
    )


@pytest.mark.parametrize(
    ("when", "error", "reason"),
    [
        ("unopened", EngineError("engine build failed: no kernel; expected; x"), "engine build"),
        ("unopened", DeviceMemoryError("out of memory; expected more; x"), "out of memory"),
        ("unopened", BundleError("the graph cannot be parsed; expected; x"), "the graph cannot"),
        ("wrong", CollapsedError("tiny gives one class; expected; x"), "self-test: tiny gives one"),
        ("wrong", DeviceError("a launch failed; expected none; x"), "a launch failed"),
    ],
)
def test_one_that_fails_is_passed_over_and_the_log_says_what_helps(
    opened: Bundle,
    machine: Machine,
    when: str,
    error: SegxError,
    reason: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    getattr(machine, when)["tensorrt"] = error
    with caplog.at_level(logging.INFO, logger="runtime"):
        choice = open_best(opened, RunRequest()).choice
    assert choice.name == "tensorrt-rtx"
    assert choice.passed_over[0].reason.startswith(reason)
    assert ";" not in choice.passed_over[0].reason
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"tensorrt is passed over: {error}"
    if when == "wrong":
        assert machine.models["tensorrt"].closed


def test_what_is_only_missing_is_no_warning(
    opened: Bundle, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.unusable["tensorrt"] = BackendError("tensorrt is not there; expected it; get it")
    with caplog.at_level(logging.INFO, logger="runtime"):
        open_best(opened, RunRequest())
    assert [record.levelno for record in caplog.records] == [logging.INFO]


@pytest.mark.parametrize("name", LADDER)
@pytest.mark.parametrize("when", ["unusable", "unopened", "wrong"])
def test_one_asked_for_by_name_is_never_replaced(
    opened: Bundle, machine: Machine, name: Backend, when: str
) -> None:
    assert open_best(opened, RunRequest(backend=name)).choice.name == name
    assert open_best(opened, RunRequest(backend=name)).choice.reason == "asked for"
    error = DeviceError("broken")
    getattr(machine, when)[name] = error
    with pytest.raises(DeviceError) as raised:
        open_best(opened, RunRequest(backend=name))
    assert raised.value is error
    assert set(machine.tried) == {name}
    if when == "wrong":
        assert machine.models[name].closed


def test_an_error_that_no_other_backend_mends_is_raised(opened: Bundle, machine: Machine) -> None:
    machine.unopened["tensorrt"] = ConfigError("SEGX_CACHE_GIB is 'much'")
    with pytest.raises(ConfigError, match="much"):
        open_best(opened, RunRequest())


FOLDER = EnginePolicy(folder=Path("usb"), trust_folder=True)


@pytest.mark.parametrize(
    ("when", "error"),
    [
        ("unopened", EngineError("no engine fits")),
        ("unopened", DeviceMemoryError("out of memory")),
        ("unopened", BundleError("the graph cannot be parsed")),
        ("wrong", CollapsedError("one class")),
    ],
)
def test_who_names_a_folder_of_engines_is_told_why_one_does_not_run(
    opened: Bundle, machine: Machine, when: str, error: SegxError
) -> None:
    getattr(machine, when)["tensorrt"] = error
    with pytest.raises(type(error)) as raised:
        open_best(opened, RunRequest(policy=FOLDER))
    assert raised.value is error
    assert machine.tried == ["tensorrt"]


def test_a_folder_of_engines_may_be_of_the_other_tensorrt(opened: Bundle, machine: Machine) -> None:
    machine.unusable["tensorrt"] = BackendError("tensorrt is not there; expected it; get it")
    choice = open_best(opened, RunRequest(policy=FOLDER)).choice
    assert (choice.name, choice.passed_over[0].name) == ("tensorrt-rtx", "tensorrt")


def test_a_folder_of_engines_without_a_tensorrt_is_refused(
    opened: Bundle, machine: Machine
) -> None:
    machine.unusable = {name: BackendError(f"no {name}; expected it; x") for name in LADDER[:2]}
    with pytest.raises(BackendError) as raised:
        open_best(opened, RunRequest(policy=FOLDER))
    assert str(raised.value) == (
        "the engines of usb cannot be run (tensorrt: no tensorrt, tensorrt-rtx: no tensorrt-rtx); "
        "expected a GPU and the TensorRT that built them; see `segx doctor`, or leave --engines out"
    )
    assert machine.tried == ["tensorrt", "tensorrt-rtx"]


def test_who_forbids_to_build_engines_is_told_that_one_is_missing(
    opened: Bundle, machine: Machine
) -> None:
    never = RunRequest(policy=EnginePolicy(rebuild="never"))
    machine.unopened["tensorrt"] = EngineError("no engine fits")
    with pytest.raises(EngineError, match="no engine fits"):
        open_best(opened, never)
    machine.unopened["tensorrt"] = DeviceError("a launch failed; expected none; x")
    machine.unusable["tensorrt-rtx"] = BackendError("no tensorrt-rtx; expected it; x")
    assert open_best(opened, never).choice.name == "onnxruntime-cuda"


def test_a_damaged_golden_tile_passes_nothing_over(
    opened: Bundle, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(bundle: Bundle) -> None:
        raise BundleError("golden.npz cannot be read")

    monkeypatch.setattr(ladder, "golden_feed", damaged)
    with pytest.raises(BundleError, match="golden"):
        open_best(opened, RunRequest())
    assert machine.tried == []
    assert open_best(opened, RunRequest(self_test=False)).choice.name == "tensorrt"


def test_a_bundle_that_nothing_runs_is_one_line_with_all_reasons(
    opened: Bundle, machine: Machine
) -> None:
    machine.unusable = {name: BackendError(f"no {name}; expected it; x") for name in LADDER[:4]}
    machine.wrong["onnxruntime"] = CollapsedError("tiny gives one class; expected; x")
    with pytest.raises(BackendError) as raised:
        open_best(opened, RunRequest())
    text = str(raised.value)
    assert text.startswith("no backend can run tiny (tensorrt: no tensorrt, tensorrt-rtx: ")
    assert "onnxruntime: self-test: tiny gives one class); expected" in text
    assert isinstance(raised.value.__cause__, CollapsedError)


def test_the_self_test_can_be_skipped(opened: Bundle, machine: Machine) -> None:
    machine.wrong = {name: CollapsedError("one class") for name in LADDER}
    found = open_best(opened, RunRequest(self_test=False))
    assert found.choice.name == "tensorrt"
    assert found.self_test == SelfTest(skipped=True)


@pytest.mark.parametrize("name", ["tensorrt", "tensorrt-rtx"])
def test_everything_that_was_asked_for_reaches_the_engines(
    opened: Bundle,
    machine: Machine,
    name: Backend,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SEGX_CACHE", str(tmp_path / "cache"))
    policy = EnginePolicy(rebuild="never", folder=tmp_path)
    watch = Watch(on_progress=lambda *what: None, note=lambda text: None)
    request = RunRequest(
        backend=name,
        variant="probabilities",
        batch=3,
        cuda="pycuda",
        policy=policy,
        segx_version="1.2",
    )
    open_best(opened, request, watch)
    assert machine.on_doubt is watch.note
    source = machine.asked.pop("source")
    assert machine.asked == {"variant": "probabilities", "batch": 3, "cuda": "pycuda"}
    assert source.cache.root == tmp_path / "cache"
    assert (source.policy, source.segx_version) == (policy, "1.2")
    assert (source.on_progress, source.note) == (watch.on_progress, watch.note)


def test_auto_tries_nothing_in_doubt(opened: Bundle, machine: Machine) -> None:
    open_best(opened, RunRequest())
    assert machine.on_doubt is None


def test_everything_that_was_asked_for_reaches_the_sessions(
    opened: Bundle, machine: Machine
) -> None:
    request = RunRequest(backend="openvino", variant="probabilities", batch=3, threads=2)
    open_best(opened, request)
    assert isinstance(machine.asked.pop("kept"), CompiledGraphs)
    assert machine.asked == {"variant": "probabilities", "batch": 3, "threads": 2}


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_real_bundle_is_opened_and_tested(opened: Bundle, name: Backend) -> None:
    found = open_best(opened, RunRequest(backend=name, threads=1))
    assert found.self_test.agreement == 1.0
    assert found.model.precision == "fp32"
    found.model.close()


PROBE = """
import sys
from pathlib import Path
from runtime import ladder, usable
from runtime.bundle import open_bundle
usable.has_nvidia_driver = lambda: False
opened = ladder.open_best(open_bundle(Path(sys.argv[1])), ladder.RunRequest(threads=1))
assert opened.choice.name == "openvino"
print(*{"cuda", "pycuda", "tensorrt", "tensorrt_rtx", "polygraphy", "onnxruntime"} & {*sys.modules})
"""


def test_a_machine_without_a_gpu_loads_no_library_for_gpus(tiny_bundle: Path) -> None:
    command = [sys.executable, "-c", PROBE, str(tiny_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
