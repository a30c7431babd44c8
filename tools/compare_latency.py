"""Time a checkpoint in PyTorch and bundles of it on a backend: one tile, all parts, in turns.

    python tools/compare_latency.py runs/tiny bundles/tiny-fp32.segx bundles/tiny-int8.segx

All take the golden tile of the first bundle. Each round runs every model once, so that what else
the machine does slows each of them alike; medians and their ratios are printed. Model only:
reading, preparing and writing are not in it.
"""

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from numpy.typing import NDArray

from runtime.backends import choose_backend
from runtime.bundle import open_bundle
from runtime.card import Runnable
from runtime.model import golden_feed, open_model
from trainkit.checkpoint import load_checkpoint
from trainkit.torch_model import TorchModel

WARMUP = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("bundles", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backend", choices=["openvino", "onnxruntime"], default="openvino")
    options = parser.parse_args()
    choice = choose_backend(options.backend)
    opened = [open_bundle(path) for path in options.bundles]
    feed, _ = golden_feed(opened[0])
    models: dict[str, Runnable] = {
        "PyTorch eager fp32": TorchModel(load_checkpoint(options.checkpoint).model)
    }
    for bundle in opened:
        model = open_model(bundle, choice)
        models[f"{bundle.manifest.name}, {choice.name} {model.precision}"] = model
    report({name: 1e3 * value for name, value in timed(models, feed, options.rounds).items()})


def timed(
    models: Mapping[str, Runnable], feed: Mapping[str, NDArray[Any]], rounds: int
) -> dict[str, float]:
    """Give the median seconds of each model, by name."""
    taken: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(WARMUP + rounds):
        for name, model in models.items():
            start = time.perf_counter()
            model.run(feed)
            taken[name].append(time.perf_counter() - start)
    return {name: median(seconds[WARMUP:]) for name, seconds in taken.items()}


def report(milliseconds: Mapping[str, float]) -> None:
    eager, full, *_ = milliseconds.values()
    print(f"{'model':50} {'ms':>8} {'x eager':>8} {'x first bundle':>15}")
    for name, value in milliseconds.items():
        print(f"{name:50} {value:8.1f} {eager / value:8.2f} {full / value:15.2f}")


if __name__ == "__main__":
    main()
