"""Data for every preset, and its bundles in every precision, made once and kept for all tests."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.export import export
from exporter.options import ConvertOptions, ExportOptions
from runtime.bundle import Bundle
from runtime.dataset import open_dataset
from runtime.manifest import Precision
from segx.sample import write_flair2, write_landcover_ai, write_potsdam
from trainkit.checkpoint import Origin, build_empty, load_checkpoint, save_checkpoint
from trainkit.config import load

PresetBundles = Callable[[str], dict[Precision, Bundle]]

SAMPLES: dict[int, Callable[[Path], Path]] = {
    13: partial(write_flair2, seed=1, areas=3, patches_per_side=2),
    6: partial(write_potsdam, seed=1),
    5: partial(write_landcover_ai, seed=1),
}
"""Data sets by their number of classes."""


@pytest.fixture(scope="session")
def sample_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Function that gives the data set that a preset is for; it is written once."""
    folder = tmp_path_factory.mktemp("samples")

    def give(preset: str) -> Path:
        classes = load(preset).num_classes
        out = folder / str(classes)
        return out if out.is_dir() else SAMPLES[classes](out)

    return give


@pytest.fixture(scope="session")
def preset_bundles(
    tmp_path_factory: pytest.TempPathFactory, sample_of: Callable[[str], Path]
) -> PresetBundles:
    """Function that gives the bundles of a preset with random weights, by precision."""
    folder = tmp_path_factory.mktemp("presets")
    made: dict[str, dict[Precision, Bundle]] = {}

    def give(preset: str) -> dict[Precision, Bundle]:
        if preset not in made:
            made[preset] = _bundles(preset, folder, sample_of(preset))
        return made[preset]

    return give


def _bundles(preset: str, folder: Path, sample: Path) -> dict[Precision, Bundle]:
    model = build_empty(load(preset)).eval()
    dataset = open_dataset(sample, tile=model.config.input.tile_size)
    origin = Origin(
        segx_version="0.1.0",
        classes=dataset.classes,
        steps=dict.fromkeys(model.units, 0),
        toy=True,
        provenance={},
        metrics={},
    )
    checkpoint = load_checkpoint(save_checkpoint(folder / preset, model, origin))
    options = ExportOptions(segx_version="0.1.0", parity_samples=1)
    full = export(checkpoint, folder / f"{preset}-fp32.segx", options).bundle
    data = CalibrationData(dataset=dataset, samples=2)
    found: dict[Precision, Bundle] = {"fp32": full}
    lower: tuple[Precision, ...] = ("fp16", "int8")
    for precision in lower:
        wanted = ConvertOptions(
            segx_version="0.1.0",
            precision=precision,
            calibration_method="max",
            parity_samples=1,
        )
        out = folder / f"{preset}-{precision}.segx"
        found[precision] = convert(full, out, wanted, calibration=data).bundle
    return found
