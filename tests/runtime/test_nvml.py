"""The energy counter of the GPU that runs a model, asked of a stand-in for NVML."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from runtime.energy import EnergyMeter, find_sources
from runtime.nvml import Nvml, NvmlError, open_gpu_counter
from runtime.power_sensors import Counter

NOT_SUPPORTED = 3


@dataclass
class FakeNvml:
    """NVML of a machine with some GPUs; each asked for its energy has used 2.5 J more."""

    names: tuple[str, ...] = ("NVIDIA A", "NVIDIA A", "NVIDIA B")
    status: dict[str, int] = field(default_factory=dict)
    """What functions give in place of 0."""
    started: int = 0
    used: dict[int, int] = field(default_factory=dict)
    """Millijoules by GPU."""

    def __getattr__(self, function: str) -> Any:
        def call(*args: Any) -> int:
            if function in self.status:
                return self.status[function]
            getattr(self, f"on_{function}")(*args)
            return 0

        if not function.startswith("nvml"):
            raise AttributeError(function)
        return call

    def on_nvmlInit_v2(self) -> None:
        self.started += 1

    def on_nvmlShutdown(self) -> None:
        self.started -= 1

    def on_nvmlDeviceGetCount_v2(self, count: Any) -> None:
        count._obj.value = len(self.names)

    def on_nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> None:
        handle._obj.value = index.value + 1

    def on_nvmlDeviceGetName(self, handle: Any, buffer: Any, size: Any) -> None:
        buffer.value = self.names[handle.value - 1].encode()[: size.value - 1]

    def on_nvmlDeviceGetUUID(self, handle: Any, buffer: Any, size: Any) -> None:
        buffer.value = f"GPU-{handle.value - 1}fed".encode()[: size.value - 1]

    def on_nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, millijoules: Any) -> None:
        index = handle.value - 1
        self.used[index] = self.used.get(index, 2**32) + 2500
        millijoules._obj.value = self.used[index]


def opened(nvml: FakeNvml, device: str, visible: str | None = None) -> tuple[str, Counter] | None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    return open_gpu_counter(device, load=lambda: nvml, environment=environment)


@pytest.mark.parametrize(
    ("device", "visible", "index"),
    [
        ("NVIDIA A (8.6)", None, 0),
        ("NVIDIA B (8.9)", None, 2),
        ("GPU 0", None, 0),
        ("NVIDIA A (8.6)", "1", 1),
        ("NVIDIA A (8.6)", "1,0", 1),
        ("GPU 0", "GPU-1f", 1),
        ("NVIDIA B (8.9)", "GPU-2fed,GPU-0fed", 2),
    ],
)
def test_the_gpu_that_runs_the_model_is_measured(
    device: str, visible: str | None, index: int
) -> None:
    nvml = FakeNvml()
    found = opened(nvml, device, visible)
    assert found is not None
    name, counter = found
    assert name == nvml.names[index]
    before = counter.read()
    assert counter.grown(before, counter.read()) == pytest.approx(2.5)
    assert list(nvml.used) == [index]
    assert nvml.started == 1
    counter.close()
    assert nvml.started == 0


@pytest.mark.parametrize("visible", ["", "7", "MIG-1234", "-1", "GPU-9"])
def test_no_other_gpu_is_measured_in_its_place(visible: str) -> None:
    nvml = FakeNvml()
    assert opened(nvml, "NVIDIA A (8.6)", visible) is None
    assert (nvml.started, nvml.used) == (0, {})


def test_a_machine_without_gpus_has_no_counter() -> None:
    nvml = FakeNvml(names=())
    assert opened(nvml, "NVIDIA A (8.6)") is None
    assert nvml.started == 0


@pytest.mark.parametrize(
    "function",
    [
        "nvmlDeviceGetCount_v2",
        "nvmlDeviceGetHandleByIndex_v2",
        "nvmlDeviceGetName",
        "nvmlDeviceGetTotalEnergyConsumption",
    ],
)
def test_a_gpu_that_tells_nothing_is_passed_over(function: str) -> None:
    nvml = FakeNvml(status={function: NOT_SUPPORTED})
    assert opened(nvml, "NVIDIA A (8.6)") is None
    assert nvml.started == 0


def test_a_machine_without_a_driver_is_passed_over() -> None:
    def missing() -> Any:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    assert open_gpu_counter("GPU 0", load=missing, environment={}) is None
    assert opened(FakeNvml(status={"nvmlInit_v2": 9}), "GPU 0") is None


def test_an_old_library_lacks_a_function() -> None:
    with pytest.raises(NvmlError, match="has no nvmlInit_v2"):
        Nvml(object())


def test_a_gpu_that_fails_in_the_middle_of_a_run_gives_no_figure() -> None:
    nvml = FakeNvml()

    def find(device: str) -> Any:
        return [
            source
            for source in find_sources(device, gpu_counter=lambda name: opened(nvml, name))
            if source.name.startswith("NVML")
        ]

    with EnergyMeter("NVIDIA A (8.6)", find=find) as meter:
        assert meter.energy is not None
        assert meter.energy.source == "NVML (NVIDIA A)"
        nvml.status["nvmlDeviceGetTotalEnergyConsumption"] = 15
    assert meter.energy is None
    assert nvml.started == 0
