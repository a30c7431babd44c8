"""Make the bundles of a preset with random weights, in every precision, on generated data."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from timm.models.xception_aligned import XceptionModule
from torch.nn.modules.batchnorm import _BatchNorm

from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.export import export
from exporter.options import ConvertOptions, ExportOptions
from runtime.bundle import Bundle
from runtime.dataset import Dataset, open_dataset
from runtime.evaluate import spread
from runtime.manifest import Precision
from runtime.model import make_feed
from segx import __version__
from segx.sample import write_flair2, write_flair_hub, write_landcover_ai, write_potsdam
from trainkit.checkpoint import Origin, build_empty, load_checkpoint, save_checkpoint
from trainkit.config import TrainConfig, load
from trainkit.importing.importing import with_classes
from trainkit.inputs import aerial_spec, satellite_spec
from trainkit.models import LandCoverModel
from trainkit.torch_model import TorchModel

SAMPLES: dict[int, Callable[[Path], Path]] = {
    19: partial(write_flair_hub, seed=1, patches_per_side=2),
    13: partial(write_flair2, seed=1, areas=3, patches_per_side=2),
    6: partial(write_potsdam, seed=1),
    5: partial(write_landcover_ai, seed=1),
}
"""Data sets by their number of classes."""

LOWER: tuple[Precision, ...] = ("fp16", "int8")

RESIDUAL = 0.1
"""Weight of the last norm of a block of Xception65, whose maps are added to its input."""


def sample_for(preset: str, folder: Path) -> Path:
    """Give the data set that a preset is for, written below a folder if it is not there yet."""
    classes = load(preset).num_classes
    out = folder / str(classes)
    return out if out.is_dir() else SAMPLES[classes](out)


def make_bundles(preset: str, folder: Path, sample: Path) -> dict[Precision, Bundle]:
    """Write checkpoint and bundles of a preset.

    Args:
        preset: Its name.
        folder: Gets the checkpoint PRESET and the bundles PRESET-PRECISION.segx.
        sample: Data set of its layout; see `sample_for`.

    Returns:
        The bundles, none of which is verified.
    """
    config = load(preset)
    dataset = open_dataset(sample, tile=config.input.tile_size)
    # Published weights tell classes apart that the labels join.
    model = build_empty(with_classes(config, len(dataset.classes))).eval()
    origin = Origin(
        segx_version=__version__,
        classes=dataset.classes,
        steps=dict.fromkeys(model.units, 0),
        toy=True,
        provenance={},
        metrics={},
    )
    settle(model, _feed(dataset, model.config))
    checkpoint = load_checkpoint(save_checkpoint(folder / preset, model, origin))
    options = ExportOptions(segx_version=__version__, parity_samples=1)
    full = export(checkpoint, folder / f"{preset}-fp32.segx", options).bundle
    data = CalibrationData(dataset=dataset, samples=2)
    found: dict[Precision, Bundle] = {"fp32": full}
    for precision in LOWER:
        wanted = ConvertOptions(
            segx_version=__version__,
            precision=precision,
            calibration_method="max",
            parity_samples=1,
        )
        out = folder / f"{preset}-{precision}.segx"
        found[precision] = convert(full, out, wanted, calibration=data).bundle
    return found


def settle(model: LandCoverModel, feed: Mapping[str, NDArray[Any]]) -> None:
    """Let batch norms take mean and spread from a feed, of two tiles or more.

    Norms that have seen nothing leave the maps of a deep network with random weights to vanish:
    those of Xception65 end below what FP16 holds. Its blocks add little to what they take, as
    trained ones do: the rounding of FP16 would grow to a quarter of the result otherwise.
    """
    for module in model.modules():
        if isinstance(module, XceptionModule):
            torch.nn.init.constant_(module.get_parameter("stack.conv3.bn_pw.weight"), RESIDUAL)
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [norm.momentum for norm in norms]
    runner = TorchModel(model, device=torch.device("cpu"))
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    try:
        runner.run(feed)
    finally:
        model.eval()
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum


def _feed(dataset: Dataset, config: TrainConfig) -> dict[str, NDArray[Any]]:
    bands, satellite = aerial_spec(config).bands, satellite_spec(config)
    chosen = spread(dataset.ids("train"), 2)
    samples = [dataset.read(name, satellite).with_bands(bands) for name in chosen]
    series = [sample.satellite for sample in samples if sample.satellite is not None]
    return make_feed([sample.aerial for sample in samples], series or None)
