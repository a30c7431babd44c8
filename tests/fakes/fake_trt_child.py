"""The fake TensorRT of a child process, told by its environment what to be.

    PYTHONPATH=tests/fakes/path:tests/fakes FAKE_TENSORRT=10.3.0 python ...

FAKE_TENSORRT                    version; `import` of the other library fails
FAKE_TENSORRT_GPU                compute capability and name of the device, such as
                                 `8.6 Fake RTX 3060`; `none` for a machine without one (the default
                                 of TensorRT-RTX; TensorRT has an 8.9 by default)
FAKE_TENSORRT_FAIL               `method` or `method:message`: the call gives None, the message is
                                 logged
FAKE_TENSORRT_OOM_ABOVE_MIB      builds with a larger workspace run out of device memory
FAKE_TENSORRT_KILLED_ABOVE_MIB   builds with a larger workspace end the process with SIGKILL
FAKE_TENSORRT_SECONDS_PER_STEP   how long a step of a build takes
FAKE_TENSORRT_LOG                file that gets, as JSON, the calls and the missing names at exit
"""

import atexit
import json
import os
from pathlib import Path

from fake_gpu import FakeGpu
from fake_tensorrt import FakeTensorRT, make_tensorrt


def from_environment(library: str) -> FakeTensorRT:
    """Make the module that `import tensorrt` or `import tensorrt_rtx` gives in this process."""
    version = os.environ.get("FAKE_TENSORRT")
    if version is None:
        raise ImportError("FAKE_TENSORRT is not set; it names the version to fake")
    default = "none" if library == "tensorrt_rtx" else "8.9"
    trt = make_tensorrt(version, gpu=gpu_from(os.environ.get("FAKE_TENSORRT_GPU", default)))
    if trt.__name__ != library:
        raise ModuleNotFoundError(f"No module named '{library}'", name=library)
    failing, _, message = os.environ.get("FAKE_TENSORRT_FAIL", "").partition(":")
    if failing:
        trt.fail(failing, message=message or None)
    trt.out_of_memory_above_mib = number("FAKE_TENSORRT_OOM_ABOVE_MIB", float("inf"))
    trt.killed_above_mib = number("FAKE_TENSORRT_KILLED_ABOVE_MIB", float("inf"))
    trt.seconds_per_step = number("FAKE_TENSORRT_SECONDS_PER_STEP", 0.0)
    log = os.environ.get("FAKE_TENSORRT_LOG")
    if log:
        atexit.register(write_log, trt, Path(log))
    return trt


def gpu_from(text: str) -> FakeGpu | None:
    if text == "none":
        return None
    capability, _, name = text.partition(" ")
    major, minor = (int(part) for part in capability.split("."))
    return FakeGpu(name or "Fake RTX 4090", (major, minor))


def number(variable: str, default: float) -> float:
    return float(os.environ.get(variable, default))


def write_log(trt: FakeTensorRT, path: Path) -> None:
    content = {
        "calls": [[call.name, repr(call.args), repr(call.kwargs)] for call in trt.calls],
        "missing": trt.missing,
        "probes": trt.probes,
    }
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")
