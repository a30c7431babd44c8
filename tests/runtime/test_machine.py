"""A machine's description tells what decides its speed, and nothing of whose it is."""

import getpass
import os
import platform
import socket
from pathlib import Path

import pytest

from runtime.jsonfile import plain
from runtime.machine import GOVERNOR, look_at_machine
from runtime.probe import Probe

CPUINFO = "processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni sse\nSerial\t\t: 10000000deadbeef\n"
LISTED = "NVIDIA H200, 9.0, 580.65.06, 143771, 700.00\n"


def reading(**files: str) -> Probe:
    known = {"cpuinfo": CPUINFO, **files}
    return Probe(read=lambda path: known.get(path.name, ""), run=lambda command: "")


def test_instruction_sets_are_those_that_decide_the_speed() -> None:
    assert look_at_machine(reading()).features == ("avx2", "avx512_vnni")
    arm = "Features\t: fp asimddp i8mm avx\n"
    assert look_at_machine(reading(cpuinfo=arm)).features == ("asimddp", "i8mm")
    assert look_at_machine(reading(cpuinfo="")).features == ()


def test_the_power_mode_is_that_of_the_board_or_of_the_clock() -> None:
    assert GOVERNOR.name == "scaling_governor"
    assert look_at_machine(reading()).power_mode is None
    clocked = look_at_machine(reading(scaling_governor="performance\n"))
    assert (clocked.power_mode, clocked.board) == ("performance", None)
    release = "# R36 (release), REVISION: 4.3, GCID: 38968081"
    jetson = reading(nv_tegra_release=release, model="Jetson AGX Orin\0", scaling_governor="x")
    probe = Probe(read=jetson.read, run=lambda command: "NV Power Mode: MAXN\n")
    found = look_at_machine(probe)
    assert (found.power_mode, found.board) == ("MAXN", "Jetson AGX Orin, JetPack 6.2 (L4T 36.4.3)")
    assert found.text.startswith("Jetson AGX Orin")


def test_a_gpu_is_described_without_its_serial_number() -> None:
    def run(command: object) -> str:
        return LISTED if "--query-gpu" in str(command) else "GPU-5c1f UUID CUDA Version: 13.0"

    found = look_at_machine(Probe(read=reading().read, run=run, has_driver=lambda: True))
    assert found.driver == "580.65.06"
    (gpu,) = found.gpus
    assert gpu.startswith("NVIDIA H200, compute capability 9.0")
    assert "5c1f" not in str(plain(found))


def test_nothing_tells_whose_machine_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "secrethost")
    monkeypatch.setattr(platform, "node", lambda: "secrethost")
    monkeypatch.setattr(platform, "release", lambda: "6.1-secretfirm")
    monkeypatch.setattr(platform, "version", lambda: "secretbuild")
    monkeypatch.setattr(getpass, "getuser", lambda: "secretuser")
    words = str(plain(look_at_machine(reading(hostname="secrethost"))))
    assert "secret" not in words
    assert "deadbeef" not in words
    for place in (Path.home(), Path.cwd(), os.environ.get("HOSTNAME", "secrethost")):
        assert str(place) not in words or str(place) == "/"
