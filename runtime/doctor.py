"""Look at this machine: processor, memory, GPUs, libraries, and what is in their way."""

from dataclasses import dataclass

from .backend_findings import BackendFinding, examine_backends
from .computer import describe_computer
from .engines.place import LIMIT_VARIABLE, ROOT_VARIABLE, cache_limit, default_cache_root
from .errors import ConfigError
from .jetson import Jetson, look_for_jetson
from .nvidia import Nvidia, look_for_gpus
from .probe import Probe
from .traps import Trap, find_traps

WRITES = {
    "segx demo": "segx-demo/",
    "segx sample": "the folder that is named",
    "segx train": "runs/<time>-<config>/, and segx-sample/ where no data is named",
    "segx export": "bundles/<config>-<precision>.segx/",
    "segx infer": "maps/",
    "segx eval, bench, inspect, doctor, cache": "only files named by options",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found."""

    machine: dict[str, str]
    """In words."""
    nvidia: Nvidia
    jetson: Jetson | None
    """None on other machines."""
    backends: tuple[BackendFinding, ...]
    traps: tuple[Trap, ...]
    writes: dict[str, str]
    """Where each command writes, unless told otherwise, and where the cache is."""


def examine(probe: Probe | None = None) -> Findings:
    """Look at this machine; runs no model."""
    probe = probe or Probe()
    nvidia, jetson = look_for_gpus(probe), look_for_jetson(probe)
    return Findings(
        machine={**describe_computer(), **_graphics(nvidia, jetson)},
        nvidia=nvidia,
        jetson=jetson,
        backends=examine_backends(probe),
        traps=find_traps(probe, nvidia),
        writes={**WRITES, "TensorRT engines, and graphs that OpenVINO compiled": _engines()},
    )


def _graphics(nvidia: Nvidia, jetson: Jetson | None) -> dict[str, str]:
    lines = {"GPU": "; ".join(gpu.text for gpu in nvidia.gpus) or f"none ({nvidia.problem})"}
    if nvidia.gpus:
        driver = (nvidia.driver, nvidia.cuda and f"for CUDA {nvidia.cuda}")
        lines["NVIDIA driver"] = ", ".join(text for text in driver if text) or "not known"
    if jetson is not None:
        lines["Jetson"] = jetson.text
        lines["power mode"] = jetson.power_mode or "not known"
    return lines


def _engines() -> str:
    try:
        root, limit = default_cache_root(), cache_limit()
    except ConfigError as error:
        return str(error)
    return f"{root}, {limit / 2**30:g} GiB at most ({ROOT_VARIABLE}, {LIMIT_VARIABLE})"
