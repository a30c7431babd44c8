from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.cells import CellGrid, cells_under
from runtime.card import ModelCard
from runtime.manifest import AerialSpec, Normalization
from runtime.satellite import SatelliteInput, SatelliteSpec


def aerial(tile: int, resolution_m: float, bands: tuple[str, ...] = ("red", "nir")) -> AerialSpec:
    return AerialSpec(
        bands=bands,
        resolution_m=resolution_m,
        tile_size=tile,
        halo=0,
        stride=1,
        halo_exact=True,
        normalization=Normalization(mean=(0.0,) * len(bands), std=(1.0,) * len(bands)),
    )


@given(
    tile=st.integers(40, 600),
    resolution_m=st.floats(0.1, 2.0),
    window=st.integers(2, 60),
    cell_m=st.sampled_from([10.0, 20.0]),
)
def test_cells_lie_whole_under_the_tile_around_one_centre(
    tile: int, resolution_m: float, window: int, cell_m: float
) -> None:
    grid = cells_under(aerial(tile, resolution_m), SatelliteSpec(window=window, cell_m=cell_m))
    if isinstance(grid, str):
        assert min(tile * resolution_m / cell_m, window) < 3
        return
    count = grid.cells.stop - grid.cells.start
    assert 2 <= count <= window
    assert len(grid.edges) == count + 1
    assert grid.cells.start == window - grid.cells.stop, "the centre of the window stays in place"
    assert grid.edges[0] >= 0
    assert grid.edges[-1] <= tile
    assert abs(grid.edges[0] + grid.edges[-1] - tile) <= 1, "the centre of the tile too"
    assert np.abs(np.diff(grid.edges) * resolution_m - cell_m).max() <= 1.01 * resolution_m
    assert count + 2 > min(tile * resolution_m / cell_m - 1e-6, window), "no two more fit"


def test_a_flair_patch_covers_ten_by_ten_cells_of_fifty_pixels() -> None:
    grid = cells_under(aerial(512, 0.2), SatelliteSpec())
    assert isinstance(grid, CellGrid)
    assert grid.cells == slice(15, 25)
    assert grid.edges.tolist() == list(range(6, 507, 50))


def test_a_cell_of_both_sides_shows_the_same_place(card: ModelCard) -> None:
    assert card.satellite is not None
    grid = cells_under(card.aerial, card.satellite)
    assert isinstance(grid, CellGrid)
    tile = np.full((5, 40, 40), 100, dtype=np.uint8)
    series = np.full((12, 4, 8, 8), 0.1, dtype=np.float32)
    # The cell in row 1 and column 3 of the tile: green and dark.
    tile[1:, 10:20, 30:40] = np.array([150, 50, 30, 40])[:, None, None]
    series[:, :, 3, 5] = np.array([0.3, 0.02, 0.1, 0.06])
    series[7] = -9.0
    mask = np.ones(12, dtype=np.float32)
    mask[7] = 0
    days = np.zeros(12, dtype=np.float32)
    made = SatelliteInput(series=series, date_mask=mask, days=days, dates_used=(date(2021, 1, 1),))
    air, orbit = grid.signatures(tile, made)
    ndvi, bright = np.zeros((4, 4)), np.full((4, 4), 100.0)
    ndvi[1, 3], bright[1, 3] = 0.5, 40.0
    np.testing.assert_allclose(air, [ndvi, bright], rtol=1e-6)
    bright[1, 3] = 60.0
    np.testing.assert_allclose(orbit, [ndvi, bright / 1000], atol=1e-6)


@pytest.mark.parametrize("blind", ["aerial", "satellite"])
def test_without_nir_on_both_sides_brightness_alone_is_compared(
    card: ModelCard, blind: str
) -> None:
    assert card.satellite is not None
    camera, orbiter = card.aerial, card.satellite
    if blind == "aerial":
        camera = aerial(40, 1.0, ("green", "blue", "red"))
    else:
        orbiter = replace(orbiter, bands=("B02", "B04", "B03"))
    grid = cells_under(camera, orbiter)
    assert isinstance(grid, CellGrid)
    assert [camera.bands[i] for i in grid.aerial] == ["red", "green", "blue"]
    assert [orbiter.bands[i] for i in grid.satellite] == ["B04", "B03", "B02"]
    assert (grid.vegetation, grid.compared) == (False, "brightness")
    tile = np.full((len(camera.bands), 40, 40), 100, dtype=np.uint8)
    series = np.full((12, len(orbiter.bands), 8, 8), 0.1, dtype=np.float32)
    tile[[camera.bands.index(name) for name in ("red", "green", "blue")], 10:20, 30:40] = np.array(
        [50, 30, 40]
    )[:, None, None]
    for name, value in (("B04", 0.1), ("B03", 0.06), ("B02", 0.02)):
        series[:, orbiter.bands.index(name), 3, 5] = value
    days, mask = np.zeros(12, dtype=np.float32), np.ones(12, dtype=np.float32)
    made = SatelliteInput(series=series, date_mask=mask, days=days, dates_used=())
    air, orbit = grid.signatures(tile, made)
    bright = np.full((1, 4, 4), 100.0)
    bright[0, 1, 3] = 40.0
    np.testing.assert_allclose(air, bright, rtol=1e-6)
    bright[0, 1, 3] = 60.0
    np.testing.assert_allclose(orbit, bright / 1000, atol=1e-6)


@pytest.mark.parametrize(
    ("bands", "kept"), [(("nir", "blue", "green"), ["green", "blue"]), (("blue",), ["blue"])]
)
def test_without_red_nir_says_nothing(
    card: ModelCard, bands: tuple[str, ...], kept: list[str]
) -> None:
    assert card.satellite is not None
    grid = cells_under(aerial(40, 1.0, bands), card.satellite)
    assert isinstance(grid, CellGrid)
    assert [bands[i] for i in grid.aerial] == kept
    assert not grid.vegetation


def test_black_pixels_have_no_vegetation_rather_than_nan(card: ModelCard) -> None:
    assert card.satellite is not None
    grid = cells_under(card.aerial, card.satellite)
    assert isinstance(grid, CellGrid)
    nothing = SatelliteInput(
        series=np.zeros((12, 4, 8, 8), dtype=np.float32),
        date_mask=np.ones(12, dtype=np.float32),
        days=np.zeros(12, dtype=np.float32),
        dates_used=(),
    )
    for side in grid.signatures(np.zeros((5, 40, 40), dtype=np.uint8), nothing):
        np.testing.assert_array_equal(side, np.zeros((2, 4, 4)))


@pytest.mark.parametrize(
    ("spec", "satellite", "why"),
    [
        (aerial(512, 0.2), SatelliteSpec(bands=("B02", "B08")), "no visible band is among both"),
        (aerial(512, 0.2, ("nir", "blue")), SatelliteSpec(bands=("B04", "B08")), "no visible band"),
        (aerial(90, 0.2), SatelliteSpec(), "a tile of 18 m covers fewer than 2 x 2 cells"),
        (aerial(512, 0.2), SatelliteSpec(window=1), "covers fewer than 2 x 2 cells"),
    ],
)
def test_what_cannot_be_compared_is_said_in_words(
    spec: AerialSpec, satellite: SatelliteSpec, why: str
) -> None:
    found = cells_under(spec, satellite)
    assert isinstance(found, str)
    assert why in found


def test_visible_bands_are_those_that_both_sides_have(card: ModelCard) -> None:
    assert card.satellite is not None
    grid = cells_under(card.aerial, replace(card.satellite, bands=("B03", "B04", "B08")))
    assert isinstance(grid, CellGrid)
    assert [card.aerial.bands[i] for i in grid.aerial] == ["nir", "red", "green"]
    assert grid.satellite == (2, 1, 0)
    assert (grid.vegetation, grid.compared) == (True, "vegetation and brightness")
