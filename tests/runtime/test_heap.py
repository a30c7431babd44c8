"""How threads share the heap is set once a process, so each case runs in one of its own."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is glibc's alone")

CHOICE = "from runtime.heap import share_arenas\nshare_arenas()"
COMMAND = """
from segx.cli import app
try:
    app([{!r}, "no-such-place"])
except BaseException as refused:
    print(type(refused).__name__)
"""
COUNT = """
import ctypes, threading
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.fopen.restype = ctypes.c_void_p
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
libc.fclose.argtypes = [ctypes.c_void_p]
met = threading.Barrier(12)
def take():
    assert libc.malloc(1000)
    met.wait()
threads = [threading.Thread(target=take) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
file = libc.fopen(b"info.xml", b"w")
libc.malloc_info(0, file)
libc.fclose(file)
print("arenas", open("info.xml").read().count("<heap nr="))
"""


def arenas(folder: Path, code: str, **settings: str) -> int:
    """Run code, let 12 threads take memory side by side, and count the parts of the heap."""
    asked = {"MALLOC_ARENA_MAX", "GLIBC_TUNABLES"}
    mine = {name: text for name, text in os.environ.items() if name not in asked}
    command = [sys.executable, "-c", code + COUNT]
    done = subprocess.run(
        command, cwd=folder, env={**mine, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


def test_threads_share_two_arenas_where_that_is_asked(tmp_path: Path) -> None:
    assert arenas(tmp_path, CHOICE) == 2
    assert arenas(tmp_path, "") > 2, "or the test shows nothing"


def test_what_the_user_asks_for_comes_first(tmp_path: Path) -> None:
    assert arenas(tmp_path, CHOICE, MALLOC_ARENA_MAX="3") == 3


@pytest.mark.parametrize("command", ["infer", "bench"])
def test_commands_that_map_ask_for_it(command: str, tmp_path: Path) -> None:
    assert arenas(tmp_path, COMMAND.format(command)) == 2
