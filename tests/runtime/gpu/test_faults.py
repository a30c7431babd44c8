"""Whatever call of the driver or of TensorRT fails, at whatever step: an error, and nothing left.

What is done is recorded once, call by call. Then it is done again for every call, which fails.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from fake_gpu import CudaFailure
from fake_tensorrt import Failure
from gpu_case import TENSORRT_RTX, GpuCase, check_arrays, random_feed, reference

from runtime.bundle import Bundle
from runtime.errors import DeviceError, SegxError
from runtime.gpu.driver import CudaName
from runtime.gpu.model import GpuModel

MACHINES: list[tuple[str, CudaName]] = [
    ("10.3.0", "cuda-python"),
    ("11.4.0.106", "pycuda"),
    (TENSORRT_RTX, "cuda-python"),
]

REFUSED = ("set_input_shape", "set_tensor_address", "execute_async_v3", "set_runtime_cache")
"""Methods of TensorRT that give False where they fail."""

SURE = {"ILogger", "Dims", "Runtime.engine_header_size", "IRuntimeConfig.cuda_graph_strategy="}
"""Calls of TensorRT that cannot fail, or do not say so."""

SPARING = {"IRuntimeCache.serialize", "IRuntimeCache.deserialize"}
"""Calls that only spare work the next time: a note is enough."""

GIVING_BACK = {
    "cuMemFree": "device blocks",
    "cuMemFreeHost": "pinned blocks",
    "cuStreamDestroy": "streams",
    "cuEventDestroy": "events",
    "cuCtxPopCurrent": "pushed contexts",
    "cuDevicePrimaryCtxRelease": "retained contexts",
}
"""What a failing call leaves behind by itself; all else must be given back all the same."""

Strikes = Callable[[int, str], bool]
"""Told the number and the name of a call; says whether it fails."""


class Faults:
    """Lets calls of a fake machine fail, which are counted from `arm` on."""

    def __init__(self, case: GpuCase) -> None:
        self.log: list[str] = []
        self.struck: list[str] = []
        """Calls that have failed, ever."""
        self._strikes: Strikes = never
        driver, library = case.gpu.fail_if_told, case.trt.failure_of

        def fail_if_told(name: str) -> None:
            if self._count(name):
                raise CudaFailure("CUDA_ERROR_LAUNCH_FAILED")
            driver(name)

        def failure_of(label: str) -> Failure | None:
            if label not in SURE and self._count(label):
                return failure_like_the_real_one(case, label)
            return library(label)

        vars(case.gpu)["fail_if_told"] = fail_if_told
        vars(case.trt)["failure_of"] = failure_of

    def arm(self, strikes: Strikes) -> None:
        self.log, self._strikes = [], strikes

    def _count(self, name: str) -> bool:
        self.log.append(name)
        struck = self._strikes(len(self.log) - 1, name)
        if struck:
            self.struck.append(name)
        return struck


def never(number: int, name: str) -> bool:
    return False


def only(wanted: int) -> Strikes:
    return lambda number, name: number == wanted


def all_from(first: int) -> Strikes:
    return lambda number, name: number >= first


def all_of(wanted: str) -> Strikes:
    return lambda number, name: name == wanted


def failure_like_the_real_one(case: GpuCase, label: str) -> Failure:
    method = label.rpartition(".")[2]
    says = "Error Code 1: Myelin (broken)"
    if method == "get_engine_validity":
        return Failure((case.trt.EngineValidity.INVALID, 0), says, None, 0)
    null = TypeError("pybind11::init(): factory function returned nullptr")
    return Failure(False if method in REFUSED else None, says, None if "." in label else null, 0)


class Machine:
    """A machine on which the same is done again and again."""

    def __init__(self, bundle: Bundle, make: Callable[[], GpuCase]) -> None:
        self.bundle = bundle
        self.feeds = [random_feed(bundle, seed=seed) for seed in range(3)]
        self.expected = [reference(bundle, feed) for feed in self.feeds]
        self._make = make
        self._sessions: dict[str, object] = {}
        self.opened: list[GpuModel] = []
        self.restart()

    def restart(self) -> None:
        self.case = self._make()
        self.case.trt._sessions = self._sessions
        self.faults = Faults(self.case)

    def open(self) -> GpuModel:
        return self.case.open(self.bundle, batch=2)

    def open_and_keep(self) -> None:
        self.opened.append(self.open())

    def use(self, model: GpuModel) -> None:
        """Stream, run and trace; every result must be right."""
        streamed = zip(model.run_many(self.feeds), self.expected, strict=True)
        for result, expected in streamed:
            check_arrays(result, expected)
        check_arrays(model.run(self.feeds[1]), self.expected[1])
        check_arrays(model.trace(self.feeds[0]), self.expected[0])

    def recorded(self, step: Callable[[], object]) -> list[str]:
        """Do a step and give the names of its calls."""
        self.faults.arm(never)
        step()
        return list(self.faults.log)

    def left(self) -> dict[str, int]:
        """What was not given back, apart from what failing calls were to give back."""
        excused = {GIVING_BACK.get(name) for name in self.faults.struck}
        return {kind: n for kind, n in self.case.gpu.live().items() if kind not in excused}


def close(model: GpuModel) -> None:
    """Close as one does who wants everything back: once more after an error."""
    try:
        model.close()
    except DeviceError:
        with suppress(DeviceError):
            model.close()
        raise


def goes_wrong(step: Callable[[], object]) -> bool:
    """Do a step; tell whether it ended in an error of ours that says what to do."""
    try:
        step()
    except SegxError as error:
        text = str(error)
        assert text.count("; ") >= 2, text
        assert "expected" in text, text
        assert "\n" not in text, text
        return True
    return False


@pytest.fixture(params=MACHINES, ids=lambda found: " ".join(found))
def machine(
    request: pytest.FixtureRequest,
    small: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Machine:
    version, cuda = request.param
    made = Machine(
        small, lambda: GpuCase.install(monkeypatch, tmp_path, version=version, cuda=cuda)
    )
    made.open().close()  # so that the engines are in the cache
    made.restart()
    return made


def test_a_call_that_fails_while_a_model_is_opened_leaves_nothing(machine: Machine) -> None:
    calls = machine.recorded(machine.open)
    assert len(calls) > 90
    for number, name in enumerate(calls):
        machine.restart()
        machine.faults.arm(only(number))
        if not goes_wrong(machine.open_and_keep):
            # Sparing calls, and memory that is had with one feed in flight.
            assert machine.case.notes or name in SPARING, (number, name)
            machine.faults.arm(never)
            machine.use(machine.opened[-1])
            machine.opened[-1].close()
        assert machine.left() == {}, (number, name)


def test_a_call_that_fails_in_use_gives_no_result_and_breaks_nothing(machine: Machine) -> None:
    model = machine.open()
    calls = machine.recorded(partial(machine.use, model))
    assert len(calls) > 150
    for number, name in enumerate(calls):
        machine.faults.arm(only(number))
        assert goes_wrong(partial(machine.use, model)), (number, name)
    machine.faults.arm(never)
    machine.use(model)
    model.close()
    assert machine.left() == {}


def test_a_call_that_fails_in_closing_does_not_keep_the_rest(machine: Machine) -> None:
    def open_and_begin() -> GpuModel:
        machine.restart()
        model = machine.open()
        next(model.run_many(machine.feeds))
        return model

    model = open_and_begin()
    calls = machine.recorded(model.close)
    for number, name in enumerate(calls):
        model = open_and_begin()
        machine.faults.arm(only(number))
        silent = name in SPARING or (machine.case.cuda == "pycuda" and "Destroy" in name)
        assert goes_wrong(partial(close, model)) is not silent, (number, name)
        assert machine.left() == {}, (number, name)


def test_a_function_that_fails_whenever_it_is_called_gives_no_result(machine: Machine) -> None:
    def all_of_it() -> None:
        model = machine.open()
        try:
            machine.use(model)
        finally:
            close(model)

    for name in sorted(set(machine.recorded(all_of_it))):
        machine.restart()
        machine.faults.arm(all_of(name))
        silent = name in SPARING or (machine.case.cuda == "pycuda" and "Destroy" in name)
        assert goes_wrong(all_of_it) or silent, name
        assert machine.left() == {}, name


def test_a_gpu_that_is_lost_ends_in_errors_at_any_moment(machine: Machine) -> None:
    model = machine.open()
    calls = machine.recorded(partial(machine.use, model))
    model.close()
    for first in range(0, len(calls), 11):
        machine.restart()
        model = machine.open()
        machine.faults.arm(all_from(first))
        assert goes_wrong(partial(machine.use, model))
        assert goes_wrong(model.close)
        machine.faults.arm(never)
        model.close()
        assert set(machine.case.gpu.live()) <= {"pushed contexts"}
