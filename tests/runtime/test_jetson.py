"""A Jetson is known by what Jetson Linux writes down."""

from pathlib import Path

import pytest

from runtime.jetson import JETPACKS, MODEL, RELEASE, Jetson, look_for_jetson
from runtime.probe import Probe

ORIN_RELEASE = (
    "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64, "
    "DATE: Wed Jan  8 01:49:37 UTC 2025\n"
    "# KERNEL_VARIANT: oot\nTARGET_USERSPACE_LIB_DIR=nvidia\n"
)
MODE = "NVPM WARN: fan mode is not set\nNV Power Mode: MAXN_SUPER\n2\n"
BOARD = "NVIDIA Jetson AGX Orin Developer Kit\0"


def probe(release: str, *, board: str = BOARD, mode: str = MODE) -> Probe:
    files = {RELEASE: release, MODEL: board}

    def read(path: Path) -> str:
        return files[path]

    return Probe(read=read, run=lambda command: mode if command == ("nvpmodel", "-q") else "")


def test_board_jetpack_and_power_mode_are_read() -> None:
    found = look_for_jetson(probe(ORIN_RELEASE))
    assert found == Jetson(
        board="NVIDIA Jetson AGX Orin Developer Kit",
        l4t="36.4.3",
        jetpack="6.2",
        power_mode="MAXN_SUPER",
    )
    assert found.text == "NVIDIA Jetson AGX Orin Developer Kit, JetPack 6.2 (L4T 36.4.3)"


@pytest.mark.parametrize(
    ("major", "revision", "jetpack"),
    [
        ("36", "3.0", "6.0"),
        ("36", "4.0", "6.1"),
        ("36", "4.3", "6.2"),
        ("38", "2.0", "7.0"),
        ("38", "4", "7.1"),
        ("39", "2.0", "7.2"),
        ("36", "4.4", None),
        ("35", "4.1", None),
    ],
)
def test_jetpack_follows_from_the_release(major: str, revision: str, jetpack: str | None) -> None:
    found = look_for_jetson(probe(f"# R{major} (release), REVISION: {revision}, GCID: 1\n"))
    assert found is not None
    assert found.jetpack == jetpack
    assert found.l4t == f"{major}.{revision}"
    assert f"L4T {major}.{revision}" in found.text
    assert set(JETPACKS.values()) == {"6.0", "6.1", "6.2", "7.0", "7.1", "7.2"}


def test_what_does_not_answer_is_not_known() -> None:
    found = look_for_jetson(probe(ORIN_RELEASE, board="", mode=""))
    assert found is not None
    assert (found.board, found.power_mode) == (None, None)
    assert found.text == "JetPack 6.2 (L4T 36.4.3)"


@pytest.mark.parametrize("release", ["", "# R36", "garbled"])
def test_other_machines_are_no_jetsons(release: str) -> None:
    assert look_for_jetson(probe(release)) is None
