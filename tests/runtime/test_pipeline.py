"""Laws of tiled inference, with models that are functions of a few lines."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from hypothesis import example, given, settings
from hypothesis import strategies as st
from local_model import OneByOne
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from runtime.backends import BackendChoice
from runtime.card import ModelCard, TileRunner
from runtime.datasets.flair import CLASSES
from runtime.errors import BundleError, DataError, GridError
from runtime.grid import Grid
from runtime.jsonfile import plain
from runtime.manifest import AerialSpec, Normalization
from runtime.pipeline import infer
from runtime.radiometry import DateOffset
from runtime.report import Report
from runtime.satellite import SatelliteInput, SatelliteSpec
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally
from runtime.tiler import TilePlan

Write = Callable[..., Path]
Feed = Mapping[str, NDArray[Any]]
TILE, HALO = 32, 8
STRIDE = TILE - 2 * HALO
CHOICE = BackendChoice(name="onnxruntime", reason="a test")


class Fake(OneByOne):
    """A model that is a function of one tile's aerial pixels, (C, H, W) to (H, W)."""

    def __init__(self, classes: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
        self.classes = classes
        self.feeds: list[Feed] = []

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        self.feeds.append({name: array.copy() for name, array in feed.items()})
        classes = self.classes(feed["aerial"][0])[None]
        return {"classes": classes, "confidence": (classes // 2).astype(np.uint8)}


def identity() -> Fake:
    return Fake(lambda tile: tile[0])


def card(*, bands: int = 1, satellite: SatelliteSpec | None = None, toy: bool = False) -> ModelCard:
    return ModelCard(
        name="fake",
        sha256="0" * 64,
        verified=True,
        toy=toy,
        aerial=AerialSpec(
            bands=tuple(f"b{i}" for i in range(bands)),
            resolution_m=0.2,
            tile_size=TILE,
            halo=HALO,
            stride=1,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,) * bands, std=(1.0,) * bands),
        ),
        satellite=satellite,
        classes=CLASSES,
    )


def run(
    path: Path, model: TileRunner, out: Path, *, bands: int = 1, **options: Any
) -> tuple[NDArray[np.uint8], Report]:
    """Map one aerial raster without a series; return the class map and the report."""
    report = infer(
        [Scene(aerial=path, satellite=None)],
        card(bands=bands),
        model,
        out,
        tally=Tally(CHOICE),
        options=InferOptions(**options),
    )
    return read(out / f"{path.stem}_landcover.tif")[0], report


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read()
    return values


def noise(height: int, width: int, bands: int = 1, high: int = 255) -> NDArray[np.uint8]:
    rng = np.random.default_rng(height * 1000 + width)
    return rng.integers(0, high, (bands, height, width), dtype=np.uint8)


# Every pixel is written once, in its place.


@settings(max_examples=25)
@given(height=st.integers(1, 90), width=st.integers(1, 90))
@example(height=1, width=1)
@example(height=TILE, width=TILE)
@example(height=TILE, width=TILE + 1)
@example(height=STRIDE * 3 + 1, width=STRIDE * 3)
@example(height=3, width=97)
@example(height=61, width=53)
def test_a_model_that_changes_nothing_gives_its_input_back(
    tmp_path_factory: pytest.TempPathFactory, write_aerial: Write, height: int, width: int
) -> None:
    folder = tmp_path_factory.mktemp("identity")
    pixels = noise(height, width)
    path = write_aerial(folder / "a.tif", pixels, bands=())
    found, report = run(path, identity(), folder / "maps")
    np.testing.assert_array_equal(found, pixels[0])
    assert report.tiles == len(TilePlan(shape=(height, width), size=TILE, halo=HALO))


@pytest.mark.parametrize("shape", [(33, 5), (50, 47), (17, 40), (64, 65), (1, 40)])
def test_a_tile_holds_its_interior_with_mirrored_surroundings(
    shape: tuple[int, int], write_aerial: Write, tmp_path: Path
) -> None:
    rows, cols = np.mgrid[: shape[0], : shape[1]].astype(np.uint8)
    path = write_aerial(tmp_path / "a.tif", np.stack([rows, cols]), bands=())
    model = Fake(lambda tile: tile[0])
    run(path, model, tmp_path / "maps", bands=2)
    padded = np.pad(np.stack([rows, cols]), [(0, 0), (HALO, 2 * TILE), (HALO, 2 * TILE)], "reflect")
    plan = TilePlan(shape=shape, size=TILE, halo=HALO)
    assert len(plan) > 1
    for tile, feed in zip(plan, model.feeds, strict=True):
        row, col = tile.row + HALO, tile.col + HALO
        expected = padded[:, row : row + TILE, col : col + TILE]
        np.testing.assert_array_equal(feed["aerial"], expected[None])
        assert feed["aerial"].dtype == np.uint8


# Nodata.


def test_pixels_that_an_alpha_band_hides_become_nodata(write_aerial: Write, tmp_path: Path) -> None:
    pixels = noise(40, 45, bands=2)
    pixels[1] = np.where(pixels[1] < 128, 0, 255)
    path = write_aerial(tmp_path / "a.tif", pixels, bands=())
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [ColorInterp.gray, ColorInterp.alpha]
    found, _ = run(path, identity(), tmp_path / "maps")
    np.testing.assert_array_equal(found, np.where(pixels[1] == 0, 255, pixels[0]))


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_tile_without_data_is_not_run_and_changes_no_other_pixel(
    everywhere: bool, write_aerial: Write, tmp_path: Path
) -> None:
    pixels = np.maximum(noise(50, 47), 1)
    hole = np.s_[:, :, :] if everywhere else np.s_[:, STRIDE : 2 * STRIDE, 2 * STRIDE :]
    pixels[hole] = 0
    path = write_aerial(tmp_path / "a.tif", pixels, bands=())
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 0
    seen: list[tuple[int, int]] = []
    model = identity()
    report = infer(
        [Scene(aerial=path, satellite=None)],
        card(),
        model,
        tmp_path / "maps",
        tally=Tally(CHOICE),
        options=InferOptions(),
        on_tile=lambda done, total: seen.append((done, total)),
    )
    found = read(tmp_path / "maps" / "a_landcover.tif")[0]
    np.testing.assert_array_equal(found, np.where(pixels[0] == 0, 255, pixels[0]))
    assert report.tiles == len(model.feeds) == (0 if everywhere else 12 - 1)
    assert seen[-1] == (12, 12)


# The satellite series.


@dataclasses.dataclass
class RecordedSeries:
    """A series that remembers where it was asked for."""

    name: str = "recorded"
    dates: int = 7
    places: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        self.places.append((row, col))
        number = len(self.places)
        return SatelliteInput(
            series=np.full((12, 10, 8, 8), number, dtype=np.float32),
            date_mask=np.ones(12, dtype=np.float32),
            days=np.zeros(12, dtype=np.float32),
            dates_used=(date(2021, 1, number % 3 + 1),),
        )

    radiometry: tuple[DateOffset, ...] = ()

    def source_files(self) -> tuple[Path, ...]:
        return ()


@pytest.mark.parametrize("shape", [(50, 47), (20, 30), (32, 32)])
def test_every_tile_gets_the_window_around_its_own_centre(
    shape: tuple[int, int], write_aerial: Write, tmp_path: Path
) -> None:
    path = write_aerial(tmp_path / "a.tif", noise(*shape), bands=())
    series, model = RecordedSeries(), identity()
    report = infer(
        [Scene(aerial=path, satellite=series)],
        card(satellite=SatelliteSpec(window=8)),
        model,
        tmp_path / "maps",
        tally=Tally(CHOICE),
        options=InferOptions(),
    )
    plan = TilePlan(shape=shape, size=TILE, halo=HALO)
    assert series.places == [(tile.row + TILE / 2, tile.col + TILE / 2) for tile in plan]
    for number, feed in enumerate(model.feeds, start=1):
        assert (feed["satellite"] == number).all()
    assert report.satellite is not None
    assert report.satellite.encoder_runs == len(plan)
    assert report.satellite.dates_total == 7
    assert report.satellite.dates_used == min(len(plan), 3)


# Outputs.


def test_maps_lie_on_the_aerial_grid_even_a_turned_one(write_aerial: Write, tmp_path: Path) -> None:
    transform = Affine(0.16, 0.12, 861_904.6, 0.12, -0.16, 6_523_377.2)
    pixels = noise(600, 45, high=13)
    path = write_aerial(tmp_path / "a.tif", pixels, bands=(), transform=transform)
    found, report = run(path, identity(), tmp_path / "maps", confidence=True, segx_version="1.2")
    np.testing.assert_array_equal(found, pixels[0])
    names = ["a_landcover.tif", "a_confidence.tif"]
    assert [Path(text).name for text in report.outputs] == names
    for text in report.outputs:
        with rasterio.open(text) as dataset, rasterio.open(path) as aerial:
            assert dataset.transform == aerial.transform
            assert (dataset.crs, dataset.shape) == (aerial.crs, aerial.shape)
            assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert dataset.overviews(1) == [2]
            assert dataset.tags()["SEGX_BUNDLE"] == "fake"
            assert dataset.tags()["SEGX_VERSION"] == "1.2"
    assert report.area_km2 == pytest.approx(600 * 45 * 0.04 / 1e6)


# Errors.


@pytest.mark.parametrize("error", [DataError("a; b; c"), ValueError("a defect")])
@pytest.mark.parametrize("tile", [1, 4])
def test_an_error_at_any_tile_leaves_nothing(
    error: Exception, tile: int, write_aerial: Write, tmp_path: Path
) -> None:
    path = write_aerial(tmp_path / "a.tif", noise(40, 40), bands=())
    model = identity()

    def fail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if len(model.feeds) == tile:
            raise error
        return np.zeros_like(pixels[0])

    model.classes = fail
    with pytest.raises(type(error)):
        run(path, model, tmp_path / "maps", confidence=True)
    assert len(model.feeds) == tile
    assert list((tmp_path / "maps").iterdir()) == []


def test_a_scene_that_does_not_fit_is_refused_before_any_work(
    write_aerial: Write, tmp_path: Path
) -> None:
    good = write_aerial(tmp_path / "a.tif", noise(40, 40), bands=())
    bad = write_aerial(
        tmp_path / "b.tif", noise(40, 40), bands=(), transform=Affine(9, 0, 0, 0, -9, 9)
    )
    model = identity()
    with pytest.raises(GridError, match=r"b\.tif has 9\.000 m per pixel"):
        infer(
            [Scene(aerial=path, satellite=None) for path in (good, bad)],
            card(),
            model,
            tmp_path / "maps",
            tally=Tally(CHOICE),
            options=InferOptions(),
        )
    assert model.feeds == []
    assert not (tmp_path / "maps").exists()


@pytest.mark.parametrize(
    ("tags", "allow", "refused"),
    [({}, False, True), ({}, True, False), ({"SEGX_SAMPLE": "seed 1"}, False, False)],
)
def test_a_toy_maps_generated_imagery_only(
    tags: dict[str, str], allow: bool, refused: bool, write_aerial: Write, tmp_path: Path
) -> None:
    path = write_aerial(tmp_path / "a.tif", noise(9, 9), bands=(), tags=tags)

    def go() -> None:
        infer(
            [Scene(aerial=path, satellite=None)],
            card(toy=True),
            identity(),
            tmp_path / "maps",
            tally=Tally(CHOICE),
            options=InferOptions(allow_toy=allow),
        )

    if refused:
        with pytest.raises(BundleError, match=r"fake is a toy .*; .* or pass --toy-ok"):
            go()
        assert not (tmp_path / "maps").exists()
    else:
        go()
        with rasterio.open(tmp_path / "maps" / "a_landcover.tif") as dataset:
            assert "generated imagery only" in dataset.tags()["SEGX_TOY"]


# Several scenes.


def test_a_model_of_one_input_reports_no_satellite(write_aerial: Write, tmp_path: Path) -> None:
    path = write_aerial(tmp_path / "a.tif", noise(9, 9), bands=())
    _, report = run(path, identity(), tmp_path / "maps")
    assert report.satellite is None
    assert "satellite" in plain(report)


def test_every_scene_becomes_a_map_of_its_own(write_aerial: Write, tmp_path: Path) -> None:
    images = {f"tile_{i}": noise(20 + i, 40) for i in range(3)}
    paths = [
        write_aerial(
            tmp_path / f"{name}.tif", part, bands=(), transform=Affine(0.2, 0, far, 0, -0.2, 6e6)
        )
        for (name, part), far in zip(images.items(), (7e5, 7.1e5, 7.2e5), strict=True)
    ]
    series = RecordedSeries()
    report = infer(
        [Scene(aerial=path, satellite=series) for path in paths],
        card(satellite=SatelliteSpec(window=8)),
        identity(),
        tmp_path / "maps",
        tally=Tally(CHOICE),
        options=InferOptions(),
    )
    for name, pixels in images.items():
        found = read(tmp_path / "maps" / f"{name}_landcover.tif")
        np.testing.assert_array_equal(found, pixels)
    assert len(report.outputs) == 3
    assert report.pixels == sum(pixels.size for pixels in images.values())
    assert report.satellite is not None
    assert report.satellite.dates_total == 7, "one series counts once"


def test_a_map_is_made_anew_over_an_old_one(write_aerial: Write, tmp_path: Path) -> None:
    for high in (5, 13):
        pixels = noise(40, 40, high=high)
        path = write_aerial(tmp_path / "a.tif", pixels, bands=())
        found, _ = run(path, identity(), tmp_path / "maps")
        np.testing.assert_array_equal(found, pixels[0])
