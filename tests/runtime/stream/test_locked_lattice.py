"""Maps whose tiles begin at the corners of Sentinel-2 pixels, wherever the raster begins."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from local_model import HALO, POOL, LocalModel, card_of, look_around, noise, read
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.geoseries import GeoSeries, open_series
from runtime.pipeline import infer
from runtime.raster import reflected
from runtime.satellite import SatelliteSpec
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally

Write = Callable[..., Path]
CELLS = {50: 100, 52: 52}
"""Pixels of a cell of the series, and pixels that tiles step by with a network stride of 4."""
CORNER = (861_900.0, 6_523_380.0)
"""Corner of a cell, in EPSG:2154."""


@pytest.fixture(scope="module")
def series(write_series: Write, tmp_path_factory: pytest.TempPathFactory) -> GeoSeries:
    folder = tmp_path_factory.mktemp("series") / "sentinel2"
    return open_series(write_series(folder, crs="EPSG:2154"))


def mapped(
    pixels: NDArray[np.uint8],
    place: tuple[int, int],
    cell: int,
    series: GeoSeries,
    write: Write,
    folder: Path,
) -> NDArray[np.uint8]:
    """Map a raster whose corner lies at a row and column counted from the corner of a cell."""
    side = 10 / cell
    corner = CORNER[0] + side * place[1], CORNER[1] - side * place[0]
    transform = Affine(side, 0, corner[0], 0, -side, corner[1])
    path = write(folder / "a.tif", pixels[None], bands=(), transform=transform)
    report = infer(
        [Scene(aerial=path, satellite=series)],
        replace(card_of(CELLS[cell] + 2 * HALO, HALO), satellite=SatelliteSpec(window=8)),
        LocalModel(),
        folder / "maps",
        tally=Tally(BackendChoice(name="onnxruntime", reason="a test")),
        options=InferOptions(),
    )
    assert report.plan is not None
    assert (report.plan.lattice_px, report.plan.stride) == (CELLS[cell], CELLS[cell])
    found: NDArray[np.uint8] = read(folder / "maps" / "a_landcover.tif")[0]
    return found


def whole(pixels: NDArray[np.uint8], place: tuple[int, int], cell: int) -> NDArray[np.uint8]:
    """The map of one run that begins at the corner of a cell, mirrored beyond the raster."""
    starts = [at % cell + 2 * HALO for at in place]
    padded = pixels
    for axis, (start, size) in enumerate(zip(starts, pixels.shape, strict=True)):
        length = start + size + 2 * HALO
        padded = padded.take(reflected(-start, length + -length % POOL, size), axis=axis)
    (top, left), (height, width) = starts, pixels.shape
    seen = look_around(padded)[top : top + height, left : left + width]
    found: NDArray[np.uint8] = (seen % 13).astype(np.uint8)
    return found


places = st.tuples(st.integers(-150, 150), st.integers(-150, 150))


@settings(max_examples=10)
@given(
    height=st.integers(1, 250),
    width=st.integers(1, 250),
    place=places,
    cell=st.sampled_from(list(CELLS)),
)
def test_tiles_make_the_map_of_one_run_that_begins_at_a_cell(
    height: int,
    width: int,
    place: tuple[int, int],
    cell: int,
    series: GeoSeries,
    write_aerial: Write,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assume((height, width) != (CELLS[cell] + 2 * HALO,) * 2)  # a patch begins at its corner
    pixels = noise(height, width)
    folder = tmp_path_factory.mktemp("locked")
    found = mapped(pixels, place, cell, series, write_aerial, folder)
    np.testing.assert_array_equal(found, whole(pixels, place, cell))


@settings(max_examples=5)
@given(top=st.integers(0, 120), left=st.integers(0, 120))
def test_where_a_raster_begins_changes_its_borders_only(
    top: int,
    left: int,
    series: GeoSeries,
    write_aerial: Write,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With cells of whole network strides, the same ground meets the same phase of the network."""
    pixels, folder = noise(210, 190), tmp_path_factory.mktemp("parts")
    large = mapped(pixels, (13, 7), 52, series, write_aerial, folder / "large")
    part, place = pixels[top:, left:], (13 + top, 7 + left)
    found = mapped(part, place, 52, series, write_aerial, folder / "part")
    # A pixel sees whole cells of the network, of its own one too.
    rows, cols = (HALO + POOL if cut else 0 for cut in (top, left))
    np.testing.assert_array_equal(found[rows:, cols:], large[top + rows :, left + cols :])
