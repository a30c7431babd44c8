"""What sysfs tells of energy: RAPL counters of processors, rails of Jetson boards."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RAPL_EVERY_S = 60.0
"""Seconds between two looks: the smallest counters, 2^32 x 15 uJ, begin anew after 65 s at 1 kW."""

_ZONE = re.compile(r"intel-rapl:(\d+)(?::\d+)?")
_COUNTED = re.compile(r"(package-\d+|dram)")
"""The package holds its cores and graphics; `psys` holds the packages, but not on every machine."""

TOTAL_RAIL = "VDD_IN"
"""Input of the module, on Orin NX and Nano."""
PART_RAILS = ("VDDQ_VDD2_1V8AO",)
"""Rails that others feed: this one hangs behind VIN_SYS_5V0 of an AGX Orin."""
_UNUSED = ("", "NC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """A counter of energy."""

    read: Callable[[], float]
    """Gives joules, or fails with an OSError."""
    wraps_at: float | None = None
    """Joules at which it begins anew; None if it never does."""
    close: Callable[[], None] = lambda: None
    """Lets go of it."""

    def grown(self, before: float, after: float) -> float:
        """Joules between two readings.

        Raises:
            OSError: If it was set back.
        """
        if after >= before:
            return after - before
        if self.wraps_at is None:
            raise OSError("the energy counter was set back")
        return after - before + self.wraps_at


def rapl_counters(root: Path) -> dict[str, Counter]:
    """Find the counters of processor packages and of memory that may be read, by name.

    Intel and AMD processors show them under one name. Nothing is given if one of them may not be
    read: part of the packages would look like all of them.
    """
    found: dict[str, Counter] = {}
    for zone in sorted((root / "class" / "powercap").glob("intel-rapl:*")):
        place = _ZONE.fullmatch(zone.name)
        try:
            name = _text(zone / "name")
            if place is None or not _COUNTED.fullmatch(name):
                continue
            counter = _rapl_counter(zone)
            counter.read()
        except OSError:
            return {}
        # Each package has memory of its own.
        found[f"dram-{place[1]}" if name == "dram" else name] = counter
    return found


def _rapl_counter(zone: Path) -> Counter:
    file = zone / "energy_uj"
    return Counter(
        read=lambda: _number(file) / 1e6,
        wraps_at=_number(zone / "max_energy_range_uj") / 1e6,
    )


def board_rails(root: Path) -> tuple[str, Callable[[], float]] | None:
    """Find the power of a Jetson board: a name, and a function that gives watts.

    The monitor at the board's input (INA238, on Thor) says it all, as does the rail `VDD_IN`;
    elsewhere the rails that feed the module are summed up.
    """
    monitors = _monitors(root)
    rails: dict[str, Callable[[], float]] = {}
    for folder in monitors.get("ina3221", ()):
        rails.update(_rails_of(folder))
    if not rails:
        return None
    inputs = [folder / "power1_input" for folder in monitors.get("ina238", ())]
    total = next(filter(_readable, inputs), None)
    if total is not None:
        return "board (VIN)", lambda: _number(total) / 1e6
    if TOTAL_RAIL in rails:
        return f"board ({TOTAL_RAIL})", rails[TOTAL_RAIL]
    summed = {name: read for name, read in rails.items() if name not in PART_RAILS}
    return f"board ({' + '.join(summed)})", lambda: sum(read() for read in summed.values())


def _monitors(root: Path) -> dict[str, list[Path]]:
    """Folders of all hardware monitors, by the name of their driver."""
    found: dict[str, list[Path]] = {}
    for file in sorted((root / "class" / "hwmon").glob("hwmon*/name")):
        try:
            found.setdefault(_text(file), []).append(file.parent)
        except OSError:
            continue
    return found


def _rails_of(folder: Path) -> dict[str, Callable[[], float]]:
    """Watts of the connected rails of an INA3221, by label."""
    rails: dict[str, Callable[[], float]] = {}
    for number in (1, 2, 3):
        voltage, current = folder / f"in{number}_input", folder / f"curr{number}_input"
        try:
            label = _text(folder / f"in{number}_label")
        except OSError:
            continue
        if label not in _UNUSED and _readable(voltage) and _readable(current):
            rails[label] = _watts(voltage, current)
    return rails


def _watts(millivolts: Path, milliamperes: Path) -> Callable[[], float]:
    return lambda: _number(millivolts) * _number(milliamperes) / 1e6


def _readable(file: Path) -> bool:
    try:
        _number(file)
    except OSError:
        return False
    return True


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip()


def _number(file: Path) -> int:
    text = _text(file)
    try:
        return int(text)
    except ValueError as error:
        raise OSError(f"{file} holds {text!r}") from error
