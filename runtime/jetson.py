"""Which Jetson this is, with which JetPack, in which power mode."""

import re
from dataclasses import dataclass
from pathlib import Path

from .probe import Probe

RELEASE = Path("/etc/nv_tegra_release")
MODEL = Path("/proc/device-tree/model")

JETPACKS = {
    "36.3": "6.0",
    "36.4": "6.1",
    "36.4.3": "6.2",
    "38.2": "7.0",
    "38.4": "7.1",
    "39.2": "7.2",
}
"""JetPack by the Jetson Linux (L4T) that it brings."""

_RELEASE = re.compile(r"R(\d+) \(release\), REVISION: (\d+(?:\.\d+)*)")
_MODE = re.compile(r"NV Power Mode:\s*(\S.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Jetson:
    """A Jetson; None is what is not known of it."""

    board: str | None
    l4t: str
    """Version of Jetson Linux, such as `36.4.3`."""
    jetpack: str | None
    power_mode: str | None

    @property
    def text(self) -> str:
        """Board and software in one line."""
        linux = f"L4T {self.l4t}"
        software = f"JetPack {self.jetpack} ({linux})" if self.jetpack else linux
        return ", ".join(part for part in (self.board, software) if part)


def look_for_jetson(probe: Probe) -> Jetson | None:
    """Read what Jetson Linux writes down; None on other machines."""
    release = _RELEASE.search(probe.read(RELEASE))
    if release is None:
        return None
    l4t = f"{release[1]}.{release[2]}"
    mode = _MODE.search(probe.run(("nvpmodel", "-q")))
    return Jetson(
        board=probe.read(MODEL).strip("\0 \n") or None,
        l4t=l4t,
        jetpack=JETPACKS.get(l4t.removesuffix(".0")),
        power_mode=mode[1].strip() if mode else None,
    )
