"""Inference counts the tiles that are unlike those of calibration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from local_model import OneByOne
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.card import ModelCard
from runtime.datasets.flair import CLASSES
from runtime.drift import BandRange, InputRanges
from runtime.jsonfile import plain
from runtime.manifest import AerialSpec, Normalization
from runtime.pipeline import infer
from runtime.report import Drift, Report
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally

Feed = Mapping[str, NDArray[Any]]
Write = Callable[..., Path]
TILE, HALO = 32, 8
STRIDE = TILE - 2 * HALO


class First(OneByOne):
    """A model whose classes are the first band."""

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        classes = feed["aerial"][:, 0]
        return {"classes": classes, "confidence": classes // 2}


def run(path: Path, ranges: dict[str, tuple[float, float]], *, known: bool = True) -> Report:
    """Map a raster with a model of these bands and ranges, known to it or not."""
    bands = [BandRange(name=name, low=low, high=high) for name, (low, high) in ranges.items()]
    count = len(bands)
    card = ModelCard(
        name="fake",
        sha256="0" * 64,
        verified=True,
        toy=False,
        aerial=AerialSpec(
            bands=tuple(ranges),
            resolution_m=0.2,
            tile_size=TILE,
            halo=HALO,
            stride=1,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,) * count, std=(1.0,) * count),
        ),
        satellite=None,
        classes=CLASSES,
        input_ranges=InputRanges(samples=1, aerial=tuple(bands)) if known else None,
    )
    choice = BackendChoice(name="onnxruntime", reason="a test")
    return infer(
        [Scene(aerial=path, satellite=None)],
        card,
        First(),
        path.parent / "maps",
        tally=Tally(choice),
        options=InferOptions(),
    )


def test_tiles_outside_the_ranges_are_counted_by_band(write_aerial: Write, tmp_path: Path) -> None:
    pixels = np.full((2, STRIDE * 4, STRIDE * 2), 100, dtype=np.uint8)
    pixels[0, STRIDE * 2 :] = 200
    pixels[1, : STRIDE // 2] = 0
    path = write_aerial(tmp_path / "a.tif", pixels, bands=())
    # Means by row of tiles: of b0 100, 125 (a quarter lies in the bright half), 175, 200; of b1 53
    # (its dark rows are mirrored), 100, 100, 100.
    report = run(path, {"b0": (90.0, 130.0), "b1": (60.0, 130.0)})
    assert report.tiles == 8
    assert report.drift == Drift(tiles_outside=6, share=0.75, bands={"b0": 4, "b1": 2})


def test_pixels_without_data_make_no_tile_unlike_calibration(
    write_aerial: Write, tmp_path: Path
) -> None:
    pixels = np.full((1, 40, 40), 100, dtype=np.uint8)
    pixels[:, :, 25:] = 0
    path = write_aerial(tmp_path / "a.tif", pixels, bands=(), nodata=0)
    report = run(path, {"b0": (99.0, 101.0)})
    assert report.drift == Drift(tiles_outside=0, share=0.0, bands={})


def test_a_model_without_ranges_reports_none(write_aerial: Write, tmp_path: Path) -> None:
    path = write_aerial(tmp_path / "a.tif", np.zeros((1, 9, 9), dtype=np.uint8), bands=())
    report = run(path, {"b0": (99.0, 101.0)}, known=False)
    assert report.drift is None
    assert plain(report)["drift"] is None
