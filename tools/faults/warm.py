"""A process that has imported PyTorch and the like, and starts segx in forks of itself.

Imports are half of the time of a short run, and nothing is on the disk before they are done. What
is started is one process as any other: a session of its own, with its own output and environment.

    harness -- request, one line of JSON --> this process -- fork --> a run
                                                   PATH.pid, then PATH.code
"""

import atexit
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from tools.bench_peers.contest import ROOT

MODULES = ("trainkit.train", "exporter.export", "onnxscript", "onnxruntime")
_PAUSE_S = 0.01


class Warm:
    """That process, from the harness's side; close it when done."""

    def __init__(
        self,
        library: Path,
        folder: Path,
        environment: Mapping[str, str],
        modules: Sequence[str] = MODULES,
    ) -> None:
        """Start it.

        Args:
            library: The shim, which runs may be told to attach.
            folder: Where runs say how they go.
            environment: What holds for all runs.
            modules: What it imports.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._number = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tools.faults.warm", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, "LD_PRELOAD": str(library)},
            cwd=ROOT,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit("the libraries of training and export cannot be imported")

    def start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        logs: Sequence[Path],
        bound: bool,
    ) -> "Forked":
        """Start segx."""
        self._number += 1
        told = self._folder / f"{os.getpid()}-{self._number}"
        request = {
            "words": list(words),
            "environment": dict(environment),
            "logs": [str(path) for path in logs],
            "told": str(told),
            "bound": bound,
        }
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Forked(told)

    def close(self) -> None:
        """End it."""
        self._process.communicate()


class Forked:
    """A run that was started so."""

    def __init__(self, told: Path) -> None:
        self._code = told.with_suffix(".code")
        self.returncode: int | None = None
        self.pid = int(_read(told.with_suffix(".pid")))

    def poll(self) -> int | None:
        """Give how it ended; None if it did not."""
        if self.returncode is None and self._code.exists():
            self.returncode = int(self._code.read_text())
        return self.returncode

    def wait(self) -> int:
        """Wait for its end."""
        self.returncode = int(_read(self._code))
        return self.returncode

    def kill(self) -> None:
        """End it."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)


def _read(path: Path) -> str:
    while not path.exists():
        time.sleep(_PAUSE_S)
    return path.read_text()


def _write(path: Path, number: int) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(str(number))
    part.replace(path)


def _serve() -> None:
    for name in sys.argv[1:]:
        importlib.import_module(name)
    if "exporter.export" in sys.argv:
        _export_once()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            pid = os.fork()
            if pid == 0:
                _become(request)
            told = Path(request["told"])
            _write(told.with_suffix(".pid"), pid)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            _write(told.with_suffix(".code"), code)
            os._exit(0)
    os._exit(0)


def _export_once() -> None:
    """Let PyTorch import what it only imports when it exports."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(torch.nn.Identity(), (torch.zeros(2, 1),), dynamo=True, verbose=False)


def _become(request: Mapping[str, object]) -> NoReturn:
    """Turn this process into a run of segx, and end."""
    from segx.cli import main

    from .child import bind

    os.setsid()
    words, environment, logs = (request[name] for name in ("words", "environment", "logs"))
    assert isinstance(words, list)
    assert isinstance(environment, dict)
    assert isinstance(logs, list)
    for number, path in zip((0, 1, 2), (os.devnull, *logs), strict=True):
        file = os.open(path, os.O_RDWR | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    ctypes.CDLL(None).segx_faults_begin()
    if request["bound"]:
        bind()
    sys.argv = ["segx", *words]
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
        code = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Libraries would wait for threads that they had before the fork.
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    _serve()
