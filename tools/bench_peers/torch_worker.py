"""One run of PyTorch: `python -m tools.bench_peers.torch_worker TASK.json RESULT.json`."""

import importlib
import json
import sys
import time
from pathlib import Path

BEGAN = time.time()


def main(task_path: str, result_path: str) -> None:
    """Map a scene, and write how long each step took."""
    task = json.loads(Path(task_path).read_text(encoding="utf-8"))
    begin = time.perf_counter()
    loop = importlib.import_module(".torch_loop", __package__)
    found = {"began": BEGAN, "imports_s": time.perf_counter() - begin, **loop.work(task)}
    Path(result_path).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
