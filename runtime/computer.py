"""Facts of this computer that every backend shares: processor, memory, disk, GDAL."""

import os
import platform
import shutil
from pathlib import Path


def describe_computer() -> dict[str, str]:
    """Describe it in words, by what is described."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "processor": processor_name(),
        "processor threads": str(usable_threads()),
        "memory": f"{memory_gib():.1f} GiB" if memory_gib() else "not known",
        "free disk here": f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB",
        "GDAL": _gdal(),
    }


def processor_name() -> str:
    """Name the processor as its system does."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def usable_threads() -> int:
    """Count the processor threads that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float:
    """Give the memory of the machine; 0 where its system does not tell."""
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return 0.0


def _gdal() -> str:
    import rasterio

    return f"{rasterio.__gdal_version__} (rasterio {rasterio.__version__})"
