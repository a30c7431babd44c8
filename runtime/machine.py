"""What a machine is, as far as its speed goes, without anything that tells whose it is.

There is no host name, user, path, address or serial number in it, and no free text of an operating
system, such as the release of a kernel, into which somebody may have written one.
"""

import platform
from dataclasses import dataclass
from pathlib import Path

from .computer import memory_gib, processor_name, usable_threads
from .jetson import look_for_jetson
from .nvidia import look_for_gpus
from .probe import Probe

GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
CPU_FEATURES = ("avx2", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm")
"""Instruction sets that decide how fast a model runs, as Linux names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Hardware, and how it is set."""

    system: str
    """Operating system and architecture."""
    processor: str
    processor_threads: int
    """Processor threads that a process may use."""
    features: tuple[str, ...]
    """Instruction sets of the processor; none where the system does not tell."""
    memory_gib: int
    """0 where the system does not tell."""
    gpus: tuple[str, ...]
    """Name, compute capability, memory and power limit of each."""
    driver: str | None
    """Version of the NVIDIA driver."""
    board: str | None
    """The Jetson, with its software; None for other machines."""
    power_mode: str | None
    """Of a Jetson, or the governor of the processor's clock; None where no system tells."""

    @property
    def text(self) -> str:
        """It in one line."""
        memory = f"{self.memory_gib} GiB" if self.memory_gib else None
        processor = f"{self.processor}, {self.processor_threads} threads"
        parts = [self.board, *self.gpus, processor, memory]
        return "; ".join(part for part in parts if part)


def look_at_machine(probe: Probe | None = None) -> Machine:
    """Describe this machine."""
    probe = probe or Probe()
    nvidia, jetson = look_for_gpus(probe), look_for_jetson(probe)
    governor = probe.read(GOVERNOR).strip() or None
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        processor=processor_name(),
        processor_threads=usable_threads(),
        features=_features(probe),
        memory_gib=round(memory_gib()),
        gpus=tuple(gpu.text for gpu in nvidia.gpus),
        driver=nvidia.driver,
        board=None if jetson is None else jetson.text,
        power_mode=governor if jetson is None else jetson.power_mode,
    )


def _features(probe: Probe) -> tuple[str, ...]:
    for line in probe.read(Path("/proc/cpuinfo")).splitlines():
        name, _, listed = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return tuple(feature for feature in CPU_FEATURES if feature in listed.split())
    return ()
