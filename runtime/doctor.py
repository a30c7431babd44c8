"""Look at this machine: processor, memory, libraries."""

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from .backends import installed
from .errors import BackendError
from .openvino_session import cpu_has_bf16


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendFinding:
    """What is known about one backend here."""

    name: str
    usable: bool
    version: str | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found."""

    machine: dict[str, str]
    backends: tuple[BackendFinding, ...]
    writes: dict[str, str]
    """Where each command writes, unless told otherwise."""


WRITES = {
    "segx demo": "segx-demo/",
    "segx sample": "the folder that is named",
    "segx train": "runs/<time>-<config>/, and segx-sample/ where no data is named",
    "segx export": "bundles/<config>-<precision>.segx/",
    "segx infer": "maps/",
    "segx eval, bench, inspect, doctor": "only files named by --json or --csv",
}


def examine() -> Findings:
    """Look at this machine; runs no model."""
    return Findings(
        machine={
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
            "processor": _processor(),
            "processor threads": str(_threads()),
            "memory": f"{_memory_gib():.1f} GiB" if _memory_gib() else "not known",
            "free disk here": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB",
            "GDAL": _gdal(),
        },
        backends=(_openvino(), _onnxruntime()),
        writes=WRITES,
    )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float:
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return 0.0


def _gdal() -> str:
    import rasterio

    return f"{rasterio.__gdal_version__} (rasterio {rasterio.__version__})"


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _openvino() -> BackendFinding:
    if not installed("openvino"):
        return BackendFinding(
            name="openvino", usable=False, version=None, note="not installed: pip install openvino"
        )
    try:
        bf16 = "has BF16" if cpu_has_bf16() else "has no BF16: fp16 bundles run in FP32"
    except BackendError as error:
        return BackendFinding(
            name="openvino", usable=False, version=_version("openvino"), note=str(error)
        )
    return BackendFinding(
        name="openvino",
        usable=True,
        version=_version("openvino"),
        note=f"default on a CPU; fp32 bundles run in FP32; this CPU {bf16}",
    )


def _onnxruntime() -> BackendFinding:
    if not installed("onnxruntime"):
        return BackendFinding(
            name="onnxruntime",
            usable=False,
            version=None,
            note="not installed: pip install 'segx[ort]'",
        )
    return BackendFinding(
        name="onnxruntime",
        usable=True,
        version=_version("onnxruntime") or _version("onnxruntime-gpu"),
        note="CPU provider; computes in FP32 whatever the bundle's precision",
    )
