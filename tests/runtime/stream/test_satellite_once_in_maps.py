"""Maps whose tiles share windows of the series: what that saves, and what it changes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from local_model import read
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import ConfigError
from runtime.geoseries import open_series
from runtime.model import open_model
from runtime.pipeline import infer
from runtime.report import SatelliteUse
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.stream.satellite_once import SAMPLES
from runtime.tally import Tally
from runtime.tiler import TilePlan

Write = Callable[..., Path]
Own = tuple[NDArray[np.uint8], SatelliteUse]
CHOICE = BackendChoice(name="onnxruntime", reason="a test")
SHAPE = (150, 187)
PLAN = TilePlan(shape=SHAPE, size=64, halo=16)
CELL = 50
"""Pixels of a cell of the series."""


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(scope="module")
def aerial(write_aerial: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pixels = np.random.default_rng(2).integers(0, 255, (5, *SHAPE), dtype=np.uint8)
    return write_aerial(tmp_path_factory.mktemp("aerial") / "a.tif", pixels)


@pytest.fixture(scope="module")
def series(write_series: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_series(tmp_path_factory.mktemp("series") / "sentinel2")


@pytest.fixture(scope="module")
def own(
    bundle: Bundle, aerial: Path, series: Path, tmp_path_factory: pytest.TempPathFactory
) -> Own:
    """The map whose tiles have windows of their own."""
    return mapped(bundle, aerial, series, tmp_path_factory.mktemp("own"), None)


def mapped(
    bundle: Bundle, aerial: Path, series: Path, out: Path, cells: int | None, *, blend: bool = False
) -> Own:
    options = InferOptions(lattice_cells=cells, blend=blend)
    report = infer(
        [Scene(aerial=aerial, satellite=open_series(series))],
        bundle.card,
        open_model(bundle, CHOICE, variant=options.variant, threads=1),
        out,
        tally=Tally(CHOICE),
        options=options,
    )
    assert report.satellite is not None
    assert report.tiles == len(PLAN)
    return read(out / "a_landcover.tif")[0], report.satellite


def nodes(step: int) -> int:
    """Windows that are the nearest of some tile."""
    found = set()
    for tile in PLAN:
        place = []
        for position, size in ((tile.row + 32, SHAPE[0]), (tile.col + 32, SHAPE[1])):
            node = round(position / (step * CELL)) * step * CELL
            place.append(min(max(node, min(0, position)), max(size, position)))
        found.add(tuple(place))
    return len(found)


@pytest.mark.parametrize("step", [1, 2, 4])
def test_the_branch_runs_once_per_window(
    step: int, bundle: Bundle, aerial: Path, series: Path, own: Own, tmp_path: Path
) -> None:
    assert own[1].encoder_runs == len(PLAN)
    assert own[1].lattice_agreement is None
    _, once = mapped(bundle, aerial, series, tmp_path, step)
    assert once.encoder_runs == nodes(step) < len(PLAN)
    assert once.tiles_clear == len(PLAN)
    assert once.dates_used == own[1].dates_used == 4


def test_the_agreement_is_that_of_both_maps(
    bundle: Bundle, aerial: Path, series: Path, own: Own, tmp_path: Path
) -> None:
    assert len(PLAN) < 2 * SAMPLES, "every tile is compared"
    once, use = mapped(bundle, aerial, series, tmp_path, 4)
    assert use.lattice_agreement is not None
    assert use.lattice_agreement == pytest.approx((own[0] == once).mean(), abs=1e-12)
    assert 0.1 < use.lattice_agreement < 1


def test_some_tiles_stand_for_all(
    bundle: Bundle,
    aerial: Path,
    series: Path,
    own: Own,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("runtime.stream.satellite_once.SAMPLES", 5)
    once, use = mapped(bundle, aerial, series, tmp_path, 4)
    sampled = [tile.interior for tile in PLAN][:: len(PLAN) // 5]
    equal = np.concatenate([(own[0][part] == once[part]).ravel() for part in sampled])
    assert use.lattice_agreement == pytest.approx(equal.mean(), abs=1e-12)


@pytest.mark.parametrize("blend", [False, True])
def test_where_the_crop_makes_no_difference_maps_are_the_same(
    blend: bool, bundle: Bundle, aerial: Path, write_series: Write, tmp_path: Path
) -> None:
    """The branch of the tiny bundle gives the mean of its window: of a flat series, the same."""
    values = np.arange(1, 11, dtype=np.uint16)[None, :, None, None] * 300
    dn = np.broadcast_to(values, (4, 10, 40, 40))
    series = write_series(tmp_path / "sentinel2", dn=dn)
    own, _ = mapped(bundle, aerial, series, tmp_path / "own", None, blend=blend)
    once, use = mapped(bundle, aerial, series, tmp_path / "once", 0, blend=blend)
    np.testing.assert_array_equal(once, own)
    assert use.encoder_runs == nodes(4), "0 stands for the longest even step"
    assert use.lattice_agreement == 1.0


def test_a_step_that_leaves_windows_too_small_is_one_line(
    bundle: Bundle, aerial: Path, series: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^--satellite-lattice 5: [^\n]*expected 1 to 4[^\n]*$"):
        mapped(bundle, aerial, series, tmp_path / "maps", 5)
    assert list(tmp_path.glob("maps/*")) == []
