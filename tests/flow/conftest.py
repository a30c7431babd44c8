"""Bundles of every full-size preset in every precision, made once and kept for all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.export import export
from exporter.options import ConvertOptions, ExportOptions
from runtime.bundle import Bundle
from runtime.dataset import open_dataset
from runtime.flair import CLASSES
from runtime.manifest import Precision
from segx.sample import write_flair2
from trainkit.checkpoint import Origin, build_empty, load_checkpoint, save_checkpoint
from trainkit.config import load

PresetBundles = Callable[[str], dict[Precision, Bundle]]


@pytest.fixture(scope="session")
def preset_bundles(tmp_path_factory: pytest.TempPathFactory) -> PresetBundles:
    """Function that gives the bundles of a preset with random weights, by precision."""
    folder = tmp_path_factory.mktemp("presets")
    made: dict[str, dict[Precision, Bundle]] = {}

    def give(preset: str) -> dict[Precision, Bundle]:
        if not made:
            write_flair2(folder / "flair2", seed=1, areas=2, patches_per_side=1)
        if preset not in made:
            made[preset] = _bundles(preset, folder)
        return made[preset]

    return give


def _bundles(preset: str, folder: Path) -> dict[Precision, Bundle]:
    model = build_empty(load(preset)).eval()
    steps = dict.fromkeys(model.branch_names, 0)
    origin = Origin(
        segx_version="0.1.0", classes=CLASSES, steps=steps, toy=True, provenance={}, metrics={}
    )
    checkpoint = load_checkpoint(save_checkpoint(folder / preset, model, origin))
    options = ExportOptions(segx_version="0.1.0", parity_samples=1)
    full = export(checkpoint, folder / f"{preset}-fp32.segx", options).bundle
    data = CalibrationData(dataset=open_dataset(folder / "flair2"), samples=2)
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
