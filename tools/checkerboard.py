"""Measure how much of a checkerboard a model draws, and whether a lower precision draws more.

    python -m tools.checkerboard runs/difd bundles/difd-fp32.segx bundles/difd-int8.segx --data DATA

A transposed convolution may treat the pixels of its stride unlike: then the mean over all pixels of
one phase, such as every fourth one, differs from that of another, whatever the image shows.

    logits (K,H,W) -> mean of each phase (a, b), a = row mod 4, b = column mod 4 -> spread over them

The index is that spread, root mean square over the classes, in per cent of the spread of the logits
over the pixels of real tiles. It is measured on a constant input, of which every change is an
artefact, and on real tiles. Logits are taken as the logarithm of probabilities.

Real tiles are patches of `--data`, else the golden tile of the first bundle. INT8 may draw at most
1.5 times what the first model does; below half a per cent nothing is seen and nothing is judged.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.backends import BackendChoice, choose_backend
from runtime.bundle import Bundle, open_bundle
from runtime.card import ModelCard, Runnable
from runtime.dataset import open_dataset
from runtime.evaluate import spread
from runtime.model import golden_feed, make_feed, open_model
from runtime.satellite import MONTHS, DatePolicy
from trainkit.checkpoint import CHECKPOINT_NAME, load_checkpoint
from trainkit.torch_model import TorchModel

STRIDE = 4
"""Phases in each direction: the factor of the last enlargement."""

BORDER = 32
"""Pixels along the border of a tile that are left out: padding is no checkerboard."""

MOST = 1.5
"""How much of a checkerboard INT8 may draw, over what the first model draws."""

SEEN = 0.5
"""Per cent below which an index is not judged."""

GREY, REFLECTANCE = 127, 0.2
"""The constant input."""

LEAST_PROBABILITY = 1e-6

Feed = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one model draws, in per cent of the spread of its logits on real tiles."""

    name: str
    precision: str
    constant: float
    real: float


def phase_spread(logits: NDArray[np.floating[Any]], stride: int = STRIDE) -> float:
    """Spread of the means of the phases, root mean square over classes.

    Args:
        logits: Shape (K, H, W); rows and columns beyond a multiple of the stride are left out.
        stride: Phases in each direction.
    """
    count, height, width = logits.shape
    rows, cols = height // stride, width // stride
    cut = logits[:, : rows * stride, : cols * stride].astype(np.float64)
    phases = cut.reshape(count, rows, stride, cols, stride).mean(axis=(1, 3))
    return _rms(phases.reshape(count, -1).std(axis=1))


def pixel_spread(logits: NDArray[np.floating[Any]]) -> float:
    """Spread over the pixels, root mean square over classes, of logits of shape (K, H, W)."""
    return _rms(logits.reshape(len(logits), -1).astype(np.float64).std(axis=1))


def measure(name: str, model: Runnable, constant: Feed, real: Sequence[Feed]) -> Found:
    """Measure one model, opened for probabilities.

    Args:
        name: What the table calls it.
        model: The model, for a batch of one.
        constant: A feed that is the same everywhere.
        real: Feeds of real tiles.
    """
    maps = [_logits(model, feed) for feed in real]
    scale = _rms(np.array([pixel_spread(item) for item in maps])) / 100.0
    # What all tiles show differs; what the model draws into them is in their mean.
    drawn = phase_spread(np.mean(maps, axis=0))
    return Found(
        name=name,
        precision=model.precision,
        constant=phase_spread(_logits(model, constant)) / scale,
        real=drawn / scale,
    )


def constant_feed(card: ModelCard) -> Feed:
    """Make a feed that is the same at every pixel, cell and date."""
    aerial, satellite = card.aerial, card.satellite
    shape = (1, len(aerial.bands), aerial.tile_size, aerial.tile_size)
    feed: Feed = {"aerial": np.full(shape, GREY, dtype=np.uint8)}
    if satellite is None:
        return feed
    series = (1, MONTHS, len(satellite.bands), satellite.window, satellite.window)
    return {
        **feed,
        "satellite": np.full(series, REFLECTANCE, dtype=np.float32),
        "date_mask": np.ones((1, MONTHS), dtype=np.float32),
        "days": DatePolicy().month_days()[None],
    }


def data_feeds(path: Path, card: ModelCard, patches: int) -> list[Feed]:
    """Read some patches of the split `val`, evenly spread."""
    dataset = open_dataset(path, tile=card.aerial.tile_size)
    feeds = []
    for patch_id in spread(dataset.ids("val"), patches):
        sample = dataset.read(patch_id, card.satellite).with_bands(card.aerial.bands)
        series = None if sample.satellite is None else [sample.satellite]
        feeds.append(make_feed([sample.aerial], series))
    return feeds


def verdict(found: Sequence[Found]) -> list[str]:
    """Say of every model in INT8 whether it draws at most 1.5 times what the first one does."""
    first, lines = found[0], []
    for item in found[1:]:
        if "int8" not in item.name:
            continue
        for kind in ("constant", "real"):
            mine, base = getattr(item, kind), max(getattr(first, kind), SEEN / MOST)
            kept = "keeps to" if mine <= MOST * base else "MISSES"
            lines.append(
                f"{item.name}, {kind} input: {mine:.3f} % against {getattr(first, kind):.3f} % of "
                f"{first.name}; {kept} {MOST} x (at least {SEEN} %)"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", type=Path, nargs="+", help="a checkpoint, or bundles")
    parser.add_argument("--data", type=Path, help="patches, of the split val")
    parser.add_argument("--patches", type=int, default=8)
    parser.add_argument("--backend", choices=["openvino", "onnxruntime"], default="openvino")
    options = parser.parse_args()
    choice = choose_backend(options.backend)
    checkpoints = [path for path in options.models if (path / CHECKPOINT_NAME).is_file()]
    bundles = {path: open_bundle(path) for path in options.models if path not in checkpoints}
    card = next(iter(bundles.values())).card if bundles else load_checkpoint(checkpoints[0]).card
    if options.data is not None:
        real = data_feeds(options.data, card, options.patches)
    elif bundles:
        real = [golden_feed(next(iter(bundles.values())))[0]]
    else:
        raise SystemExit("a checkpoint alone has no tile to look at; give --data DATA")
    found = []
    for path in options.models:
        model = _open(path, bundles.get(path), choice)
        name = bundles[path].manifest.precision if path in bundles else "checkpoint"
        found.append(measure(f"{path.name} ({name})", model, constant_feed(card), real))
    print(f"{'model':40} {'computed in':>12} {'constant %':>11} {'real %':>8}")
    for item in found:
        print(f"{item.name:40} {item.precision:>12} {item.constant:11.3f} {item.real:8.3f}")
    for line in verdict(found):
        print(line)


def _open(path: Path, bundle: Bundle | None, choice: BackendChoice) -> Runnable:
    if bundle is None:
        return TorchModel(load_checkpoint(path).model, variant="probabilities")
    return open_model(bundle, choice, variant="probabilities")


def _logits(model: Runnable, feed: Feed) -> NDArray[np.float64]:
    probabilities = np.asarray(model.run(feed)["probabilities"][0], dtype=np.float64)
    logits = np.log(np.maximum(probabilities, LEAST_PROBABILITY))
    # A shift of all classes together changes no probability.
    logits -= logits.mean(axis=0, keepdims=True)
    inner: NDArray[np.float64] = logits[:, BORDER:-BORDER, BORDER:-BORDER]
    return inner


def _rms(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


if __name__ == "__main__":
    main()
