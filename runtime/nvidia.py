"""NVIDIA GPUs of this machine, as `nvidia-smi` or the CUDA driver describe them."""

import re
from dataclasses import dataclass

from .errors import BackendError
from .probe import Probe

FIELDS = ("name", "compute_cap", "driver_version", "memory.total", "power.limit")
QUERY = ("nvidia-smi", f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits")
_CUDA = re.compile(r"CUDA (?:UMD )?Version\s*:\s*(\d+\.\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """One GPU; None is what is not known of it."""

    name: str
    compute_capability: str | None
    memory_mib: int | None
    shares_memory: bool
    """Whether it shares the processor's memory, as a Jetson's does."""
    power_limit_w: float | None

    @property
    def text(self) -> str:
        """All of it in one line."""
        memory = "memory of the processor" if self.shares_memory else "memory"
        parts = [
            self.name,
            self.compute_capability and f"compute capability {self.compute_capability}",
            self.memory_mib and f"{self.memory_mib} MiB {memory}",
            self.power_limit_w and f"power limit {self.power_limit_w:g} W",
        ]
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvidia:
    """GPUs and their driver."""

    gpus: tuple[Gpu, ...]
    driver: str | None
    """Version of the driver, such as `580.65.06`."""
    cuda: str | None
    """Newest CUDA that the driver can run, such as `13.0`."""
    problem: str | None
    """Why no GPU is known, in a few words."""


def look_for_gpus(probe: Probe) -> Nvidia:
    """Ask `nvidia-smi`, and the CUDA driver where that says too little, as on a Jetson."""
    gpus, driver = _listed(probe)
    cuda = _CUDA.search(probe.run(("nvidia-smi",))) if gpus else None
    newest = cuda[1] if cuda else None
    if gpus and all(gpu.compute_capability for gpu in gpus):
        return Nvidia(gpus=gpus, driver=driver, cuda=newest, problem=None)
    if not probe.has_driver():
        problem = None if gpus else "no NVIDIA driver"
        return Nvidia(gpus=gpus, driver=driver, cuda=newest, problem=problem)
    try:
        found = probe.gpu()
    except BackendError as error:
        reason = str(error).partition(";")[0]
        return Nvidia(gpus=gpus, driver=driver, cuda=newest, problem=reason)
    gpu = Gpu(
        name=found.name,
        compute_capability=found.compute_capability,
        memory_mib=found.memory_mib,
        shares_memory=found.integrated,
        power_limit_w=None,
    )
    return Nvidia(gpus=(gpu,), driver=driver, cuda=found.driver, problem=None)


def _listed(probe: Probe) -> tuple[tuple[Gpu, ...], str | None]:
    """GPUs that `nvidia-smi` lists, and the version of the driver."""
    gpus = []
    driver = None
    for line in probe.run(QUERY).splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(FIELDS):
            continue
        known = {name: cell for name, cell in zip(FIELDS, cells, strict=True) if _said(cell)}
        driver = known.get("driver_version", driver)
        gpus.append(
            Gpu(
                name=known.get("name", "a GPU without a name"),
                compute_capability=known.get("compute_cap"),
                memory_mib=round(_number(known, "memory.total")) or None,
                shares_memory=False,
                power_limit_w=_number(known, "power.limit") or None,
            )
        )
    return tuple(gpus), driver


def _said(cell: str) -> bool:
    """Whether a cell holds an answer, and not `[N/A]` or `[Not Supported]`."""
    return bool(cell) and not cell.startswith("[") and cell != "N/A"


def _number(known: dict[str, str], name: str) -> float:
    try:
        return float(known[name])
    except (KeyError, ValueError):
        return 0.0
