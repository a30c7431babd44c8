"""The satellite part run on a lattice of windows, and its logits moved to tiles."""

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS

from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.card import ModelCard
from runtime.errors import BundleError, SatelliteError
from runtime.grid import Grid
from runtime.manifest import AerialSpec, Normalization
from runtime.model import open_model
from runtime.radiometry import DateOffset
from runtime.satellite import SatelliteInput, SatelliteSpec, SatelliteStack, window_cells
from runtime.satellite_lattice import SatelliteLattice, default_step, longest_step, moved
from runtime.satellite_policy import MissingSatellite, SatelliteFeeder, state_of

ROWS, COLS = 90, 120
"""Cells of the series; 50 px of the tile grid each."""
GRID = Grid(
    (50 * ROWS, 50 * COLS), Affine(0.2, 0, 861_904.6, 0, -0.2, 6_523_377.2), CRS.from_epsg(2154)
)
SPEC = SatelliteSpec()


def aerial_of(tile: int = 512, resolution_m: float = 0.2) -> AerialSpec:
    return AerialSpec(
        bands=("red",),
        resolution_m=resolution_m,
        tile_size=tile,
        halo=0,
        stride=1,
        halo_exact=True,
        normalization=Normalization(mean=(0.0,), std=(1.0,)),
    )


CARD = ModelCard(
    name="a model",
    sha256="",
    verified=True,
    toy=False,
    aerial=aerial_of(),
    satellite=SPEC,
    classes=(),
)


class Plane:
    """A series whose reflectance grows evenly to the south and to the east."""

    name, dates = "a plane", 1

    radiometry: tuple[DateOffset, ...] = ()

    def source_files(self) -> tuple[Path, ...]:
        return ()

    def __init__(self, cloud: slice = slice(0), empty: slice = slice(0)) -> None:
        row, col = np.ogrid[:ROWS, :COLS]
        dn = np.broadcast_to(1000 + 20 * row + 3 * col, (1, 10, ROWS, COLS)).astype(np.uint16)
        dn[..., empty] = 0
        cover = np.zeros((1, 2, ROWS, COLS), dtype=np.uint8)
        cover[..., cloud] = 100
        days = (datetime.date(2021, 5, 9),)
        self.stack = SatelliteStack(dn=dn, cover=cover, dates=days, offsets=(0,))

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        return spec.prepare(self.stack, *window_cells(row / 50, col / 50, spec.window))


class Pointwise:
    """A satellite part that gives each cell of a window its own reflectance in May."""

    def __init__(self) -> None:
        self.feeds: list[Mapping[str, NDArray[Any]]] = []

    def run_satellite(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.feeds.append(feed)
        return {"satellite_logits": feed["satellite"][:, 4].copy()}


def lattice_of(
    source: Plane, policy: MissingSatellite = "nearest-dates", step: int | None = None
) -> tuple[SatelliteLattice, Pointwise, SatelliteFeeder]:
    model = Pointwise()
    feeder = SatelliteFeeder(source, SPEC, policy=policy, grid=GRID)
    return SatelliteLattice(model, feeder, CARD, step_cells=step), model, feeder


def under(logits: NDArray[Any]) -> NDArray[Any]:
    """What the fusion part may read of a window: the cells under a tile and one beside them."""
    return logits[..., 13:27, 13:27]


def test_the_step_leaves_what_tiles_read_inside_the_window() -> None:
    # A tile of 512 px takes 10.24 cells, and interpolation one more on each side.
    assert longest_step(aerial_of(), SPEC) == 27
    assert default_step(aerial_of(), SPEC) == 16
    assert default_step(aerial_of(), SatelliteSpec(window=25)) == 12
    assert default_step(aerial_of(64), SatelliteSpec(window=8)) == 4
    assert default_step(aerial_of(512, 0.4), SatelliteSpec(window=24)) == 0


@pytest.mark.parametrize("step", [0, 28])
def test_a_step_that_is_too_long_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match=f"a lattice of {step} cells; expected 1 to 27"):
        lattice_of(Plane(), step=step)


def test_a_model_without_a_satellite_branch_has_no_lattice() -> None:
    feeder = SatelliteFeeder(Plane(), SPEC, grid=GRID)
    with pytest.raises(ValueError, match="no satellite branch"):
        SatelliteLattice(Pointwise(), feeder, dataclasses.replace(CARD, satellite=None))


@given(row=st.floats(1250, 3250), col=st.floats(1250, 4750), step=st.integers(1, 27))
def test_where_logits_do_not_depend_on_the_crop_a_tile_gets_those_of_its_own_window(
    row: float, col: float, step: int
) -> None:
    source = Plane()
    lattice, _, feeder = lattice_of(source, step=step)
    found = lattice.logits(row, col)
    own = feeder.see(row, col)
    assert found is not None
    assert lattice.runs == 1
    np.testing.assert_allclose(
        under(found["satellite_logits"]), under(own.series[None, 4]), rtol=0, atol=2e-6
    )


def test_in_the_middle_of_a_window_its_logits_are_not_changed() -> None:
    lattice, _, feeder = lattice_of(Plane())
    found = lattice.logits(1600, 2400)
    assert found is not None
    own = feeder.see(1600, 2400).series[None, 4]
    assert found["satellite_logits"].dtype == np.float32
    np.testing.assert_array_equal(found["satellite_logits"], own)


def test_each_window_runs_once_however_many_tiles_lie_on_it() -> None:
    lattice, model, feeder = lattice_of(Plane())
    step = 16 * 50
    tiles = [
        (row, col)
        for row in range(256, GRID.shape[0], 384)
        for col in range(256, GRID.shape[1], 384)
    ]
    nodes = {(round(row / step), round(col / step)) for row, col in tiles}
    for row, col in tiles:
        assert lattice.logits(row, col) is not None
    assert lattice.runs == len(model.feeds) == len(nodes) < len(tiles) / 3
    assert feeder.tiles == {"clear": len(tiles)}
    assert {name: array.shape for name, array in model.feeds[0].items()} == {
        "satellite": (1, 12, 10, 40, 40),
        "date_mask": (1, 12),
        "days": (1, 12),
    }


def test_windows_are_forgotten_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.satellite_lattice.NODES", 2)
    lattice, _, _ = lattice_of(Plane())
    for col in (800, 1600, 800, 2400, 800, 1600):
        lattice.logits(1600, col)
    assert lattice.runs == 4


def test_tiles_at_the_edges_take_windows_on_the_grid() -> None:
    lattice, model, feeder = lattice_of(Plane())
    height, width = GRID.shape
    for row, col in ((-100, 0), (0, -190), (height, width), (height + 190, width + 190)):
        found = lattice.logits(row, col)
        own = feeder.see(row, col).series[None, 4]
        assert found is not None
        # Beyond the border its pixels are repeated, so that a plane is none there.
        np.testing.assert_allclose(
            under(found["satellite_logits"]), under(own), rtol=0, atol=8 * 20 / 1e4
        )
    assert lattice.runs == len(model.feeds)


def test_a_tile_below_the_clouds_of_its_window_falls_back_on_its_own() -> None:
    # The window around column 2400 (cell 48) lies below clouds; that of a tile at 2010 does not.
    source = Plane(cloud=slice(42, None))
    lattice, _, feeder = lattice_of(source, "aerial-only")
    found = lattice.logits(1600, 2010)
    assert found is not None
    states = [state_of(lattice.series)]
    np.testing.assert_array_equal(found["satellite_logits"], feeder.see(1600, 2010).series[None, 4])
    assert lattice.logits(1600, 3600) is None
    states.append(state_of(lattice.series))
    assert states == ["clear", "aerial_only"]
    assert feeder.tiles == {"clear": 1, "aerial_only": 1}
    strict, _, _ = lattice_of(source, "refuse")
    assert strict.logits(1600, 2010) is not None
    with pytest.raises(SatelliteError, match="no clear date"):
        strict.logits(1600, 3600)


def test_covered_windows_count_as_covered_tiles() -> None:
    lattice, _, feeder = lattice_of(Plane(cloud=slice(42, None)))
    assert lattice.logits(1600, 2410) is not None
    assert state_of(lattice.series) == "covered"
    assert feeder.tiles == {"covered": 1}


def test_a_window_that_shows_nothing_does_not_refuse_a_tile_that_is_seen() -> None:
    source = Plane(empty=slice(60, None))
    lattice, _, feeder = lattice_of(source, step=26)
    # The windows are centred on cells 52 and 78; the one at 78 begins at cell 58.
    source.stack.dn[..., 58:60] = 0
    found = lattice.logits(1300, 66 * 50)
    assert found is not None
    np.testing.assert_array_equal(
        found["satellite_logits"], feeder.see(1300, 66 * 50).series[None, 4]
    )
    with pytest.raises(SatelliteError, match="aerial-only"):
        lattice.logits(1300, 110 * 50)


@given(
    down=st.floats(-9, 9),
    across=st.floats(-9, 9),
    side=st.sampled_from([10, 20, 40]),
    seed=st.integers(0, 99),
)
def test_moving_keeps_constants_and_planes(
    down: float, across: float, side: int, seed: int
) -> None:
    row, col = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    slope = np.random.default_rng(seed).integers(-5, 6, 3)
    plane = (slope[0] + slope[1] * row + slope[2] * col)[None, None].astype(np.float32)
    found = moved(plane, down, across, window=40)
    cells = side / 40
    expected = plane + slope[1] * down * cells + slope[2] * across * cells
    edge = int(np.ceil(9 * cells))
    inner = np.s_[:, :, edge : side - edge, edge : side - edge]
    np.testing.assert_allclose(found[inner], expected[inner], rtol=0, atol=1e-3)
    constant = moved(np.full((1, 2, side, side), 7, dtype=np.float32), down, across, window=40)
    np.testing.assert_allclose(constant, 7, rtol=1e-6)


def test_moving_by_whole_cells_is_exact_and_repeats_the_border() -> None:
    maps = np.random.default_rng(1).standard_normal((1, 3, 12, 12)).astype(np.float32)
    found = moved(maps, 2, -3, window=12)
    rows, cols = np.arange(12) + 2, np.arange(12) - 3
    expected = maps[:, :, rows.clip(0, 11)][..., cols.clip(0, 11)]
    np.testing.assert_array_equal(found, expected)


def test_a_part_that_gives_no_maps_is_refused() -> None:
    with pytest.raises(BundleError, match=r"shape \(1, 64\); expected maps .*; use one window"):
        moved(np.zeros((1, 64), dtype=np.float32), 0, 0, window=40)


def test_the_satellite_part_of_a_bundle_runs_on_a_lattice(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    spec = bundle.card.satellite
    assert spec is not None
    model = open_model(bundle, BackendChoice(name="onnxruntime", reason="a test"), threads=1)
    feeder = SatelliteFeeder(Plane(), spec, grid=GRID)
    lattice = SatelliteLattice(model, feeder, bundle.card)
    assert lattice.step_cells == 4
    aerial = np.zeros((1, 5, 64, 64), dtype=np.uint8)
    for row, col in ((1000, 1000), (1040, 1000), (1040, 960)):
        logits = lattice.logits(row, col)
        assert logits is not None
        results = model.run({"aerial": aerial, **logits})
        assert results["classes"].shape == (1, 64, 64)
    assert lattice.runs == 1
    assert set(model.part_seconds) == {"aerial", "satellite", "fusion"}
