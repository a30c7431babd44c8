"""Patches in memory, small checkpoints, and one bundle that most tests look at."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from exporter.accuracy import EvalData
from exporter.export import Exported, export
from exporter.options import ExportOptions
from runtime.classes import LandCoverClass
from runtime.datasets.flair import CLASSES
from runtime.errors import DataError
from runtime.sample import AERIAL_BANDS, Sample
from runtime.satellite import DatePolicy, SatelliteInput, SatelliteSpec
from trainkit.aerial_config import AerialConfig, UNetFormerConfig
from trainkit.checkpoint import Checkpoint, Origin, load_checkpoint, read_info, save_checkpoint
from trainkit.config import InputConfig, TrainConfig
from trainkit.joint_config import SatelliteBranchConfig
from trainkit.models import LandCoverModel, build
from trainkit.recipe import OptimConfig, TrainingConfig

SIDE = 256
AERIAL = UNetFormerConfig(
    encoder="resnet18",
    encoder_widths=(16, 24, 32, 48),
    encoder_depths=(1, 1, 1, 1),
    decoder_width=32,
)
SATELLITE = SatelliteBranchConfig(
    encoder_widths=(16, 16, 32, 32), decoder_widths=(16, 16, 32, 32), n_head=4, d_model=32
)
SMALL: dict[str, Any] = {
    "input": InputConfig(tile_size=SIDE),
    "training": TrainingConfig(aerial=OptimConfig(crop_px=SIDE)),
}
OPTIONS = ExportOptions(segx_version="0.1.0", parity_samples=2)


@dataclass
class FakeData:
    """Random patches of one tile; what the labels say is up to `labels`."""

    root: Path = Path("fake-data")
    classes: tuple[LandCoverClass, ...] = CLASSES
    bands: tuple[str, ...] = AERIAL_BANDS
    licence: str = "made for tests"
    count: int = 3
    train: int = 0
    """Patches of the split `train`; there is none without."""
    labels: Callable[[str], np.ndarray[Any, np.dtype[np.uint8]] | None] = field(
        default=lambda patch_id: _random_labels(patch_id)
    )

    @property
    def splits(self) -> dict[str, tuple[str, ...]]:
        found = {"val": tuple(f"patch{i}" for i in range(self.count))}
        if self.train:
            found["train"] = tuple(f"train{i}" for i in range(self.train))
        return found

    def ids(self, split: str) -> tuple[str, ...]:
        if split not in self.splits:
            raise DataError(f"fake-data has no split '{split}'")
        return self.splits[split]

    def groups(self) -> dict[str, str]:
        return {name: "area" for ids in self.splits.values() for name in ids}

    def position(self, patch_id: str) -> tuple[float, float]:
        return 100.0 * int(patch_id[-1]), 0.0

    def resolution_m(self, patch_id: str) -> float:
        return 0.2

    def read(self, patch_id: str, satellite: SatelliteSpec | None) -> Sample:
        rng = np.random.default_rng(list(patch_id.encode()))
        series = None
        if satellite is not None:
            mask = np.ones(12, dtype=np.float32)
            mask[2] = 0.0
            shape = (12, len(satellite.bands), satellite.window, satellite.window)
            series = SatelliteInput(
                series=rng.random(shape, dtype=np.float32) * mask[:, None, None, None],
                date_mask=mask,
                days=DatePolicy().month_days(),
                dates_used=(),
            )
        return Sample(
            id=patch_id,
            bands=self.bands,
            aerial=rng.integers(0, 256, (5, SIDE, SIDE), dtype=np.uint8),
            satellite=series,
            labels=self.labels(patch_id),
        )

    def fingerprint(self) -> str:
        return "f" * 64


def _random_labels(patch_id: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    rng = np.random.default_rng(list(patch_id.encode()))
    return rng.integers(0, 13, (SIDE, SIDE), dtype=np.uint8)


def eval_data(**changes: Any) -> EvalData:
    return EvalData(dataset=FakeData(**changes), split="val", limit=2)


def settle(model: LandCoverModel) -> LandCoverModel:
    """Give every norm statistics and weights as training would, so that folding has work to do."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.normal_(0.0, 0.1, generator=generator)  # type: ignore[union-attr]
            module.running_var.uniform_(0.7, 1.4, generator=generator)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.7, 1.4, generator=generator)
            module.bias.data.normal_(0.0, 0.1, generator=generator)
    return model.eval()


def write_checkpoint(folder: Path, config: TrainConfig, *, steps: int = 10) -> Checkpoint:
    torch.manual_seed(3)
    model = settle(build(config))
    origin = Origin(
        segx_version="0.1.0",
        classes=CLASSES,
        steps=dict.fromkeys(model.branch_names, steps),
        toy=False,
        provenance={"data": {"name": "fake", "path": "/nowhere/fake", "fingerprint": "f" * 64}},
        metrics={},
    )
    save_checkpoint(folder, model, origin)
    return Checkpoint(path=folder, model=model, config=config, info=read_info(folder))


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A checkpoint of an aerial branch alone, with the weights that it has in `checkpoint`."""
    config = TrainConfig(name="mini", aerial=(AERIAL,), **SMALL)
    return write_checkpoint(tmp_path_factory.mktemp("runs") / "mini", config)


@pytest.fixture(scope="session")
def checkpoint(made_once: Callable[[str, Callable[[Path], Path]], Path]) -> Checkpoint:
    """A dual-input checkpoint that claims to be trained; do not change its model.

    All processes of a run have the same folder, as they have the bundle that is made of it.
    """
    config = TrainConfig(name="duo", aerial=(AERIAL,), satellite=SATELLITE, **SMALL)
    return load_checkpoint(
        made_once("duo", lambda folder: write_checkpoint(folder / "duo", config).path)
    )


@pytest.fixture(scope="session")
def checkpoint_of(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., Checkpoint]:
    """Function that writes a checkpoint of aerial branches: `checkpoint_of(name, *branches)`."""

    def give(name: str, *aerial: AerialConfig) -> Checkpoint:
        config = TrainConfig(name=name, aerial=aerial, **SMALL)
        return write_checkpoint(tmp_path_factory.mktemp("runs") / name, config)

    return give


@pytest.fixture(scope="session")
def exported(
    checkpoint: Checkpoint, made_once: Callable[[str, Callable[[Path], Exported]], Exported]
) -> Exported:
    """Its bundle; read it, do not change it."""
    return made_once(
        "exported",
        lambda folder: export(checkpoint, folder / "duo.segx", OPTIONS, data=eval_data()),
    )


@pytest.fixture(scope="session")
def graphs(exported: Exported) -> dict[str, onnx.ModelProto]:
    """The bundle's graphs by part; do not change them."""
    bundle = exported.bundle
    return {part.name: onnx.load(bundle.file(part)) for part in bundle.manifest.parts}


@pytest.fixture(scope="session")
def patches() -> FakeData:
    """Patches to calibrate on, and others to measure on."""
    return FakeData(count=6, train=4)


@pytest.fixture
def data() -> Callable[..., EvalData]:
    """Function that makes data to measure on: `data(labels=...)`."""
    return eval_data
