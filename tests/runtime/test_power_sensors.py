"""Energy counters and power rails are found in trees like those of real machines."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from runtime.power_sensors import Counter, board_rails, rapl_counters

ORIN_AGX = {
    "hwmon3": (
        ("VDD_GPU_SOC", 20_000, 500),
        ("VDD_CPU_CV", 20_000, 250),
        ("VIN_SYS_5V0", 5000, 2000),
    ),
    "hwmon4": (("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 5000, 400), ("NC", 0, 0)),
}
ORIN_NANO = {
    "hwmon1": (("VDD_IN", 5000, 1600), ("VDD_CPU_GPU_CV", 5000, 600), ("VDD_SOC", 5000, 300)),
}
THOR = {
    "hwmon5": (
        ("VDD_GPU", 12_000, 2000),
        ("VDD_CPU_SOC_MSS", 12_000, 1000),
        ("VIN_SYS_5V0", 5000, 900),
    ),
}

Write = Callable[..., Path]
Board = Mapping[str, Sequence[tuple[str, int, int]]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Function that writes files of one sysfs folder."""

    def write(place: str, **files: object) -> Path:
        folder = tmp_path / "class" / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(f"{content}\n")
        return folder

    return write


def write_rails(write: Write, board: Board) -> None:
    for place, rails in board.items():
        folder = f"hwmon/{place}"
        write(folder, name="ina3221", in7_label="sum of shunt voltages", in7_input=9)
        for number, (label, millivolts, milliamperes) in enumerate(rails, start=1):
            files = {"in{}_label": label, "in{}_input": millivolts, "curr{}_input": milliamperes}
            write(folder, **{name.format(number): value for name, value in files.items()})
    write("hwmon/hwmon0", name="tmp451", in1_label="VDD_IN", in1_input=1, curr1_input=1)


def zone(write: Write, place: str, name: str, microjoules: int = 0) -> Path:
    return write(
        f"powercap/{place}", name=name, energy_uj=microjoules, max_energy_range_uj=262_143_328_850
    )


def test_packages_and_memory_are_counted_and_parts_of_them_are_not(
    write: Write, tmp_path: Path
) -> None:
    assert rapl_counters(tmp_path) == {}
    write("powercap/intel-rapl", enabled=1)
    for index in (0, 1):
        zone(write, f"intel-rapl:{index}", f"package-{index}", 10**6 * (index + 1))
        zone(write, f"intel-rapl:{index}:0", "core", 1)
        zone(write, f"intel-rapl:{index}:1", "uncore", 1)
        zone(write, f"intel-rapl:{index}:2", "dram", 5 * 10**6 * (index + 1))
    zone(write, "intel-rapl:2", "psys", 1)
    zone(write, "intel-rapl-mmio:0", "package-0", 1)
    found = rapl_counters(tmp_path)
    joules = {name: counter.read() for name, counter in found.items()}
    assert joules == {"package-0": 1.0, "dram-0": 5.0, "package-1": 2.0, "dram-1": 10.0}
    assert {counter.wraps_at for counter in found.values()} == {262_143.32885}


@pytest.mark.parametrize("spoil", ["no energy", "text", "no range"])
def test_some_of_the_packages_are_not_taken_for_all(
    spoil: str, write: Write, tmp_path: Path
) -> None:
    zone(write, "intel-rapl:0", "package-0")
    folder = zone(write, "intel-rapl:1", "package-1")
    assert set(rapl_counters(tmp_path)) == {"package-0", "package-1"}
    if spoil == "text":
        (folder / "energy_uj").write_text("none\n")
    else:
        (folder / {"no energy": "energy_uj", "no range": "max_energy_range_uj"}[spoil]).unlink()
    assert rapl_counters(tmp_path) == {}


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="everything may be read")
def test_counters_for_root_only_are_not_there(write: Write, tmp_path: Path) -> None:
    (zone(write, "intel-rapl:0", "package-0") / "energy_uj").chmod(0)
    assert rapl_counters(tmp_path) == {}


def test_a_counter_that_cannot_begin_anew_was_set_back() -> None:
    counter = Counter(read=lambda: 0.0)
    assert counter.grown(2.0, 5.0) == 3.0
    with pytest.raises(OSError, match="set back"):
        counter.grown(5.0, 2.0)


@pytest.mark.parametrize(
    ("board", "name", "watts"),
    [
        (ORIN_AGX, "board (VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0)", 25.0),
        (ORIN_NANO, "board (VDD_IN)", 8.0),
        (THOR, "board (VDD_GPU + VDD_CPU_SOC_MSS + VIN_SYS_5V0)", 40.5),
    ],
)
def test_the_power_of_a_board_is_that_of_its_input_or_of_all_its_rails(
    board: Board,
    name: str,
    watts: float,
    write: Write,
    tmp_path: Path,
) -> None:
    assert board_rails(tmp_path) is None
    write_rails(write, board)
    found = board_rails(tmp_path)
    assert found is not None
    assert found[0] == name
    assert found[1]() == pytest.approx(watts)


def test_the_monitor_at_the_input_of_a_board_says_it_all(write: Write, tmp_path: Path) -> None:
    monitor = write("hwmon/hwmon7", name="ina238", power1_input=61_500_000)
    assert board_rails(tmp_path) is None, "such a monitor alone can sit anywhere"
    write_rails(write, THOR)
    found = board_rails(tmp_path)
    assert found is not None
    assert (found[0], found[1]()) == ("board (VIN)", 61.5)
    (monitor / "power1_input").write_text("N/A\n")
    with pytest.raises(OSError, match="power1_input holds 'N/A'"):
        found[1]()
    again = board_rails(tmp_path)
    assert again is not None
    assert again[0].startswith("board (VDD_GPU")


def test_a_rail_that_cannot_be_read_is_left_out(write: Write, tmp_path: Path) -> None:
    write_rails(write, ORIN_NANO)
    (tmp_path / "class" / "hwmon" / "hwmon1" / "curr1_input").unlink()
    found = board_rails(tmp_path)
    assert found is not None
    assert found[0] == "board (VDD_CPU_GPU_CV + VDD_SOC)"
