"""A meter adds up what counters and sensors say, and says nothing where there are none."""

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.energy import Counters, EnergyMeter, SampledPower, Source, find_sources
from runtime.power_sensors import Counter

WRAP = 1000.0


def no_gpu(device: str) -> None:
    raise AssertionError(f"NVML is asked for {device}")


@given(st.floats(0, WRAP - 1), st.lists(st.floats(0, WRAP - 1)))
def test_a_counter_that_begins_anew_loses_nothing(start: float, used: list[float]) -> None:
    total = [start]
    counter = Counter(read=lambda: total[0] % WRAP, wraps_at=WRAP)
    source = Counters("a", (counter,), every_s=math.inf)
    source.look()
    for joules in used:
        total[0] += joules
        source.look()
    assert source.joules == pytest.approx(sum(used), abs=1e-6)


@given(st.lists(st.tuples(st.floats(0.01, 10), st.floats(0, 100)), min_size=1))
def test_a_power_that_changes_evenly_is_summed_exactly(steps: list[tuple[float, float]]) -> None:
    now, watts, expected = 0.0, 0.0, 0.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "perf_counter", lambda: now)
        source = SampledPower("a", lambda: watts)
        source.look()
        for seconds, after in steps:
            expected += seconds * (watts + after) / 2
            now, watts = now + seconds, after
            source.look()
    assert source.joules == pytest.approx(expected)


@dataclass
class Scripted:
    """A source that gives some joules per look, and then fails."""

    name: str
    per_look: float
    looks: int = 1000
    every_s: float = math.inf
    joules: float = -1.0
    closed: int = 0
    on_look: Callable[[], None] = lambda: None

    def look(self) -> None:
        if not self.looks:
            raise OSError("gone")
        self.looks -= 1
        self.joules = max(self.joules, 0.0) + self.per_look
        self.on_look()

    def close(self) -> None:
        self.closed += 1


def meter_of(*sources: Source) -> EnergyMeter:
    return EnergyMeter(find=lambda device: sources)


def test_sources_are_added_up_and_named_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [10.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    sources = (Scripted("RAPL", 1.0), Scripted("NVML", 10.0))
    meter = meter_of(*sources)
    assert meter.energy is None
    with meter:
        now[0] = 14.0
        so_far = meter.energy
        now[0] = 21.0
    assert so_far is not None
    assert (so_far.joules, so_far.mean_watts) == (22.0, 5.5)
    found = meter.energy
    assert found is not None
    assert found.joules_by_source == {"RAPL": 3.0, "NVML": 30.0}
    assert (found.joules, found.mean_watts, found.source) == (33.0, 3.0, "RAPL + NVML")
    now[0] = 99.0
    assert meter.energy == found, "the block is left"
    assert [source.closed for source in sources] == [1, 1]


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_half_of_a_run_is_no_figure(looks: int) -> None:
    broken, whole = Scripted("broken", 5.0, looks), Scripted("whole", 1.0)
    with meter_of(broken, whole) as meter:
        assert meter.energy is not None
    assert meter.energy is not None
    assert meter.energy.source == "whole"
    assert broken.closed == 1
    with meter_of(Scripted("broken", 5.0, looks)) as meter:
        pass
    assert looks == 2 or meter.energy is None


def test_a_counter_that_stands_still_measures_nothing() -> None:
    with meter_of(Scripted("still", 0.0)) as meter:
        pass
    assert meter.energy is None


def test_what_changes_meanwhile_is_sampled_and_sampling_ends() -> None:
    seen = threading.Event()
    source = Scripted("rails", 1.0, every_s=0.001)
    source.on_look = lambda: seen.set() if source.joules >= 5 else None
    before = threading.active_count()
    with pytest.raises(TimeoutError), meter_of(source):
        raise TimeoutError if seen.wait(timeout=10) else AssertionError
    assert (threading.active_count(), source.closed) == (before, 1)


def write(folder: Path, **files: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(f"{content}\n")
    return folder


def write_rapl(root: Path, zone: str, name: str, joules: float) -> Path:
    folder = root / "class" / "powercap" / zone
    write(folder, name=name, energy_uj=int(joules * 1e6), max_energy_range_uj=65_532_610_987)
    return folder


def names(sources: Sequence[Source]) -> list[str]:
    return [source.name for source in sources]


def test_a_run_on_a_processor_is_measured_by_rapl(tmp_path: Path) -> None:
    package = write_rapl(tmp_path, "intel-rapl:0", "package-0", 65_000.0)
    write_rapl(tmp_path, "intel-rapl:0:0", "core", 1.0)
    find = partial(find_sources, root=tmp_path, gpu_counter=no_gpu)
    with EnergyMeter(find=find) as meter:
        write(package, energy_uj=2_000_000)
    assert meter.energy is not None
    assert meter.energy.joules == pytest.approx(534.610987)
    assert meter.energy.source == "RAPL (package-0)"


def test_a_run_on_a_gpu_is_measured_by_both(tmp_path: Path) -> None:
    write_rapl(tmp_path, "intel-rapl:0", "package-0", 1.0)
    asked: list[str] = []

    def counter(device: str) -> tuple[str, Counter] | None:
        asked.append(device)
        return ("Ada", Counter(read=lambda: 1.0)) if device == "Ada (8.9)" else None

    find = partial(find_sources, root=tmp_path, gpu_counter=counter)
    assert names(find("Ada (8.9)")) == ["RAPL (package-0)", "NVML (Ada)"]
    assert names(find("another")) == ["RAPL (package-0)"]
    assert names(find()) == ["RAPL (package-0)"]
    assert asked == ["Ada (8.9)", "another"]


def test_the_rails_of_a_board_hold_everything(tmp_path: Path) -> None:
    write_rapl(tmp_path, "intel-rapl:0", "package-0", 1.0)
    rail = {"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 1500}
    write(tmp_path / "class" / "hwmon" / "hwmon3", name="ina3221", **rail)
    (source,) = find_sources("Orin (8.7)", root=tmp_path, gpu_counter=no_gpu)
    assert (source.name, source.every_s) == ("board (VDD_IN)", 0.2)


def test_nothing_is_measured_where_nothing_can_be_read(tmp_path: Path) -> None:
    find = partial(find_sources, root=tmp_path / "missing", gpu_counter=lambda device: None)
    with EnergyMeter("Ada (8.9)", find=find) as meter:
        assert meter.energy is None
    assert meter.energy is None


def test_this_machine_is_asked_without_an_error() -> None:
    with EnergyMeter("GPU 0") as meter:
        pass
    assert meter.energy is None or meter.energy.joules > 0
