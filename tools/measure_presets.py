"""Measure presets for docs/models.toml: parity, sizes and CPU latency of their bundles.

    python -m tools.measure_presets make WORK difd u-tae     # bundles of each, minutes a preset
    python -m tools.measure_presets time WORK difd u-tae     # on a machine with nothing else to do

`make` writes checkpoints with random weights and their bundles below WORK; what is there is kept.
A precision that random weights do not survive is refused by the export and left out of the figures.
`time` runs PyTorch and the bundles in turns (`tools.compare_latency`), one tile a call, all parts,
and prints what goes into docs/models.toml.
"""

import argparse
import json
from pathlib import Path

from runtime.backends import choose_backend
from runtime.bundle import SUFFIX, Bundle, open_bundle
from runtime.card import Runnable
from runtime.manifest import Precision
from runtime.model import golden_feed, open_model
from tools.compare_latency import timed
from tools.preset_bundles import LOWER, make_bundles, sample_for
from trainkit.checkpoint import load_checkpoint
from trainkit.torch_model import TorchModel

PRECISIONS: tuple[Precision, ...] = ("fp32", *LOWER)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=["make", "time"])
    parser.add_argument("work", type=Path)
    parser.add_argument("presets", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for preset in options.presets:
        if options.task == "time":
            print(figures(preset, options.work, options.rounds), flush=True)
        elif not bundle_path(options.work, preset, PRECISIONS[-1]).is_dir():
            options.work.mkdir(parents=True, exist_ok=True)
            make_bundles(preset, options.work, sample_for(preset, options.work / "samples"))
            print(f"made {preset}", flush=True)


def bundle_path(work: Path, preset: str, precision: Precision) -> Path:
    """Where `make` puts a bundle."""
    return work / f"{preset}-{precision}{SUFFIX}"


def figures(preset: str, work: Path, rounds: int) -> str:
    """Give the lines for docs/models.toml, with those on PyTorch and INT8 layers as comments."""
    paths = {each: bundle_path(work, preset, each) for each in PRECISIONS}
    bundles = {each: open_bundle(path) for each, path in paths.items() if path.is_dir()}
    choice = choose_backend("openvino")
    opened = {each: open_model(bundle, choice) for each, bundle in bundles.items()}
    models: dict[str, Runnable] = {"eager": TorchModel(load_checkpoint(work / preset).model)}
    models |= {str(each): model for each, model in opened.items()}
    feed, _ = golden_feed(bundles["fp32"])
    seconds = timed(models, feed, rounds)
    lines = [f"# {preset}: PyTorch eager {1e3 * seconds['eager']:.0f} ms a tile"]
    lines += [f"[presets.{preset}]", f'parity = "{parity(bundles["fp32"])}"']
    for each, bundle in bundles.items():
        lines += [
            f"[presets.{preset}.bundles.{each}]  # {opened[each].precision}",
            f"size_mib = {bundle.size_mib:.2f}",
            f"latency_ms = {1e3 * seconds[each]:.1f}",
        ]
    return "\n".join([*lines, ""])


def parity(bundle: Bundle) -> str:
    """Largest difference of a part's output over its scale, and least share of equal classes.

    The confidence, which comes in steps of 1 in 254, is not in the first.
    """
    stages = json.loads((bundle.path / "parity.json").read_text(encoding="utf-8"))["stages"]
    found = [row["agreement"] for stage in stages for row in stage["rows"]]
    most = max(item["max_abs"] / item["scale"] for item in found if not item["step"])
    classes = [item["argmax"] for item in found if item["argmax"] is not None]
    return f"{most:.0e}, {100 * min(classes):.2f} % of classes"


if __name__ == "__main__":
    main()
