"""A ready ONNX file becomes a bundle that maps as its owner's own code does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from exporter.calibrate import CalibrationData
from exporter.convert import convert
from exporter.importing import Imported, import_onnx
from exporter.importing.declaration import AerialInput, SatelliteInput
from exporter.options import ConvertOptions
from exporter.receptive import STRIDE
from runtime.backends import choose_backend
from runtime.bundle import Bundle, open_bundle
from runtime.datasets.flair import CLASSES
from runtime.model import golden_feed, open_model
from runtime.satellite import DatePolicy

from ..conftest import FakeData, eval_data
from .conftest import OPTIONS, SIDE, declare, trace

Arrays = dict[str, NDArray[Any]]

SERIES = 20
"""Cells of the Sentinel-2 window here."""


class UNet(nn.Module):
    """Two levels, batch norm, nearest enlargement to the size of the skip, one channel out."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.last = nn.Conv2d(24, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        first = self.first(image)
        low = self.down(first)
        low = functional.interpolate(low, size=first.shape[-2:], mode="nearest")
        logits: Tensor = self.last(torch.cat((low, first), dim=1)) * 4.0
        return logits


class Duo(nn.Module):
    """Both inputs, with a mask of padded months, days as integers, and features that are added."""

    def __init__(self) -> None:
        super().__init__()
        self.aerial = nn.Sequential(nn.Conv2d(5, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.satellite = nn.Sequential(nn.Conv2d(10, 8, 3, padding=1), nn.ReLU())
        self.head = nn.Conv2d(8, 13, 1)

    def forward(self, image: Tensor, series: Tensor, padding: Tensor, days: Tensor) -> Tensor:
        low = self.aerial(image)
        n, t, c, h, w = series.shape
        maps = self.satellite(series.reshape(n * t, c, h, w)).reshape(n, t, -1, h, w)
        kept = (~padding).float()
        weighed = maps * (kept * torch.cos(days.float() / 365))[:, :, None, None, None]
        mean = weighed.sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)[:, None, None, None]
        wide = functional.interpolate(
            mean, size=low.shape[-2:], mode="bilinear", align_corners=False
        )
        logits: Tensor = self.head(low + wide)
        # The way of corner on corner, which bundles made here never have.
        return functional.interpolate(
            logits, size=image.shape[-2:], mode="bilinear", align_corners=True
        )


MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DUO = declare(
    classes=CLASSES,
    aerial=AerialInput(
        input="image",
        bands=("red", "green", "blue", "nir", "elevation"),
        resolution_m=0.2,
        tile_size=SIDE,
        divisor=255.0,
        stride=4,
    ),
    satellite=SatelliteInput(
        input="series",
        window=SERIES,
        scale=10_000.0,
        mean=(1000.0,) * 10,
        std=(500.0,) * 10,
        mask="padding",
        mask_means="absent",
        days="days",
    ),
)


@pytest.fixture(scope="module")
def duo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Duo, Path]:
    torch.manual_seed(0)
    module, names = Duo(), ("image", "series", "padding", "days")
    example = (
        torch.randn(1, 5, SIDE, SIDE),
        torch.rand(1, 12, 10, SERIES, SERIES),
        torch.zeros(1, 12, dtype=torch.bool),
        torch.zeros(1, 12, dtype=torch.int64),
    )
    path = tmp_path_factory.mktemp("duo") / "duo.onnx"
    axes = {name: {0: "batch"} for name in names}
    options = {"input_names": list(names), "output_names": ["out"], "opset_version": 14}
    return module, trace(module, example, path, axes, **options)


def run(bundle: Bundle, feed: Arrays, *, batch: int = 1) -> Arrays:
    found: Arrays = {}
    for variant in ("classes", "probabilities"):
        model = open_model(bundle, choose_backend(), variant=variant, batch=batch)
        found.update(model.trace(feed))
        model.close()
    return found


def tiles(count: int, bands: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (count, bands, SIDE, SIDE), dtype=np.uint8)


@pytest.fixture(scope="module")
def dual(duo: tuple[Duo, Path], tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """The bundle of the graph of both inputs, measured; read it, do not change it."""
    out = tmp_path_factory.mktemp("bundles") / "duo.segx"
    return import_onnx(duo[1], DUO, out, OPTIONS, data=eval_data())


def test_the_recipe_of_smp_gives_a_bundle_of_two_classes(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = UNet()
    axes = {0: "batch_size", 2: "height", 3: "width"}
    path = trace(
        module,
        (torch.randn(1, 3, 224, 224),),
        tmp_path / "unet.onnx",
        {"input": axes, "output": axes},
        export_params=True,
        opset_version=17,
        do_constant_folding=True,
        input_names=["input"],
        output_names=["output"],
    )
    aerial = replace(declare().aerial, divisor=255.0, mean=MEAN, std=STD)
    made = import_onnx(path, declare(2, aerial=aerial), tmp_path / "unet.segx", OPTIONS)
    pixels = tiles(2)
    scale = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    with torch.no_grad():
        expected = module((torch.tensor(pixels) / 255.0 - scale[0]) / scale[1]).sigmoid().numpy()
    found = run(made.exported.bundle, {"aerial": pixels}, batch=2)
    np.testing.assert_allclose(found["probabilities"][:, 1:], expected, atol=1e-4)
    decided = abs(expected[:, 0] - 0.5) > 1e-4
    assert (found["classes"] == (expected[:, 0] > 0.5))[decided].all()
    assert 0.1 < found["classes"].mean() < 0.9
    manifest = made.exported.bundle.manifest
    assert [part.name for part in manifest.parts] == ["aerial", "fusion", "fusion_probabilities"]
    assert (manifest.model.imported, manifest.model.steps) == (True, 0)
    np.testing.assert_allclose(manifest.aerial.normalization.mean, [255 * m for m in MEAN])
    # Three pixels to each side at full size and two at half of it.
    assert manifest.provenance["receptive_field"]["radius_px"] == STRIDE  # type: ignore[index]
    assert manifest.aerial.halo_exact
    kinds = {n.op_type for n in onnx.load(made.exported.bundle.path / "aerial.onnx").graph.node}
    assert not kinds & {"Shape", "BatchNormalization"}


def test_a_graph_of_both_inputs_is_split_where_they_meet(
    dual: Imported, duo: tuple[Duo, Path]
) -> None:
    bundle = open_bundle(dual.exported.bundle.path)
    roles = [part.role for part in bundle.manifest.parts]
    assert roles == ["aerial", "satellite", "fusion", "fusion"]
    rng = np.random.default_rng(2)
    mask = (rng.random((2, 12)) < 0.5).astype(np.float32)
    mask[:, 3] = 1.0
    series = rng.random((2, 12, 10, SERIES, SERIES), dtype=np.float32)
    feed: Arrays = {
        "aerial": tiles(2, 5),
        "satellite": series * mask[:, :, None, None, None],
        "date_mask": mask,
        "days": np.tile(DatePolicy().month_days(), (2, 1)),
    }
    found = run(bundle, feed, batch=2)
    with torch.no_grad():
        logits = duo[0](
            torch.tensor(feed["aerial"] / 255.0, dtype=torch.float32),
            torch.tensor((feed["satellite"] * 10_000 - 1000) / 500, dtype=torch.float32),
            torch.tensor(mask == 0),
            torch.tensor(feed["days"]).long(),
        )
    np.testing.assert_allclose(found["probabilities"], logits.softmax(dim=1), atol=1e-4)
    assert (found["classes"] == logits.argmax(dim=1).numpy()).mean() > 0.999
    assert any("resize linear, align_corners" in note for note in dual.notes)
    assert not bundle.manifest.aerial.halo_exact


def test_the_evidence_names_the_original(dual: Imported, duo: tuple[Duo, Path]) -> None:
    bundle = dual.exported.bundle
    ledger = json.loads((bundle.path / "parity.json").read_text())
    stages = [(stage["reference"], stage["candidate"]) for stage in ledger["stages"]]
    assert stages == [("original ONNX", "ONNX Runtime"), ("ONNX Runtime", "OpenVINO")]
    feed, expected = golden_feed(bundle)
    found = run(bundle, feed)
    assert (found["classes"] == expected["classes"]).mean() > 0.999
    origin = bundle.manifest.provenance["imported"]
    assert origin["file"] == "duo.onnx"  # type: ignore[index]
    assert str(duo[1].parent) not in (bundle.path / "manifest.json").read_text()


@pytest.mark.usefixtures("warm_converter")
def test_the_bundle_is_measured_and_goes_on_to_other_precisions(
    dual: Imported, tmp_path: Path
) -> None:
    assert dual.exported.verdict.verified
    assert "of the original ONNX" in dual.exported.verdict.text
    calibration = CalibrationData(dataset=FakeData(train=4), samples=2, force=True)
    options = ConvertOptions(segx_version="0.1.0", precision="fp16", parity_samples=1, repair_s=0.0)
    halved = convert(dual.exported.bundle, tmp_path / "half.segx", options, calibration=calibration)
    assert {part.precision for part in halved.bundle.manifest.parts} == {"fp16"}
