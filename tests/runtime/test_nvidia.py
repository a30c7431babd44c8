"""GPUs are described from what `nvidia-smi` or the CUDA driver says."""

from collections.abc import Sequence
from typing import Any

import pytest

from runtime.errors import BackendError
from runtime.gpu.device import DeviceInfo
from runtime.nvidia import Gpu, look_for_gpus
from runtime.probe import Probe

HEAD = """\
Sat Nov 21 10:00:00 2026
+-----------------------------------------------------------------------------------------+
| NVIDIA-SMI 580.65.06              Driver Version: 580.65.06      CUDA Version: 13.0     |
+-----------------------------------------+------------------------+----------------------+
"""
LATER_HEAD = "| NVIDIA-SMI 590.12   KMD Version: 590.12   CUDA UMD Version: 13.1 |\n"
TWO = """\
NVIDIA RTX 4000 Ada Generation, 8.9, 580.65.06, 20475, 130.00
NVIDIA H200, 9.0, 580.65.06, 143771, 700.00
"""
ORIN = "Orin (nvgpu), [N/A], 540.4.0, [N/A], [N/A]\n"
ORIN_INFO = DeviceInfo(
    name="Orin",
    compute_capability="8.7",
    memory_mib=62_800,
    free_mib=50_000,
    driver="12.6",
    integrated=True,
)


def probe(
    query: str = "", head: str = "", *, gpu: DeviceInfo | str = "asked", driver: bool = True
) -> Probe:
    """A machine whose `nvidia-smi` prints these; `gpu` is what CUDA says, or why it does not."""

    def run(command: Sequence[str]) -> str:
        return query if len(command) > 1 else head

    def ask() -> Any:
        if isinstance(gpu, str):
            raise BackendError(f"{gpu}; expected a GPU; look for it")
        return gpu

    return Probe(run=run, gpu=ask, has_driver=lambda: driver)


@pytest.mark.parametrize(("head", "cuda"), [(HEAD, "13.0"), (LATER_HEAD, "13.1"), ("", None)])
def test_every_gpu_that_is_listed_is_described(head: str, cuda: str | None) -> None:
    found = look_for_gpus(probe(TWO, head, driver=False))
    assert found.gpus == (
        Gpu(
            name="NVIDIA RTX 4000 Ada Generation",
            compute_capability="8.9",
            memory_mib=20_475,
            shares_memory=False,
            power_limit_w=130.0,
        ),
        Gpu(
            name="NVIDIA H200",
            compute_capability="9.0",
            memory_mib=143_771,
            shares_memory=False,
            power_limit_w=700.0,
        ),
    )
    assert (found.driver, found.cuda, found.problem) == ("580.65.06", cuda, None)
    assert found.gpus[1].text == (
        "NVIDIA H200, compute capability 9.0, 143771 MiB memory, power limit 700 W"
    )


@pytest.mark.parametrize("query", [ORIN, ""])
def test_the_driver_is_asked_where_nvidia_smi_says_too_little(query: str) -> None:
    found = look_for_gpus(probe(query, gpu=ORIN_INFO))
    (gpu,) = found.gpus
    assert gpu.text == "Orin, compute capability 8.7, 62800 MiB memory of the processor"
    assert found.cuda == "12.6"
    assert found.driver == ("540.4.0" if query else None)


def test_a_gpu_that_cuda_cannot_describe_is_still_named() -> None:
    found = look_for_gpus(probe(ORIN, gpu="cuda-python is not installed"))
    assert found.gpus[0].text == "Orin (nvgpu)"
    assert found.problem == "cuda-python is not installed"


@pytest.mark.parametrize(
    ("driver", "problem"), [(False, "no NVIDIA driver"), (True, "0 NVIDIA GPUs found")]
)
def test_a_machine_without_a_gpu_says_why(driver: bool, problem: str) -> None:
    found = look_for_gpus(probe(gpu="0 NVIDIA GPUs found", driver=driver))
    assert (found.gpus, found.driver, found.cuda) == ((), None, None)
    assert found.problem == problem


@pytest.mark.parametrize(
    "line", ["", 'Field "compute_cap" is not a valid field to query.', "a, b, c, d, e, f"]
)
def test_lines_of_another_kind_are_passed_over(line: str) -> None:
    assert look_for_gpus(probe(line + "\n" + TWO)).gpus[0].compute_capability == "8.9"
    assert look_for_gpus(probe(line, driver=False)).gpus == ()


def test_cells_that_are_no_numbers_are_not_known() -> None:
    (gpu,) = look_for_gpus(probe("T4, 7.5, 535.1, much, [Not Supported]\n")).gpus
    assert (gpu.memory_mib, gpu.power_limit_w) == (None, None)
    assert gpu.text == "T4, compute capability 7.5"
