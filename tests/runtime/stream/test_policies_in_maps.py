"""What maps show where Sentinel-2 is clear, covered or missing, with a bundle of both inputs."""

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import rasterio
from local_model import read
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError, SatelliteError
from runtime.geoseries import open_series
from runtime.grid import Grid
from runtime.manifest import PartSpec
from runtime.model import TileModel, open_model
from runtime.output.kinds import AERIAL_ONLY, COVERED_DATES, GOOD, NODATA
from runtime.pipeline import infer
from runtime.radiometry import DateOffset
from runtime.report import Report
from runtime.satellite import NotSeenError, SatelliteInput, SatelliteSpec
from runtime.satellite_policy import MissingSatellite
from runtime.scene import SatelliteSource, Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally
from runtime.tiler import Tile, TilePlan

State = Literal["clear", "covered", "unseen"]
Write = Callable[..., Path]
Feed = Mapping[str, NDArray[Any]]
CHOICE = BackendChoice(name="onnxruntime", reason="a test")
SHAPE, TILE, HALO = (120, 150), 64, 16
PLAN = TilePlan(shape=SHAPE, size=TILE, halo=HALO)
STATES: tuple[State, ...] = ("clear", "covered", "unseen", "clear", "unseen")


def changing(row: float, col: float) -> State:
    """Another state in every tile, in no order."""
    place = (row - TILE / 2 + HALO) / PLAN.stride, (col - TILE / 2 + HALO) / PLAN.stride
    return STATES[int(3 * place[0] + place[1] + place[0] * place[1]) % len(STATES)]


@dataclass(frozen=True)
class Sky:
    """A series of one date that is clear, covered or not to be seen, by place."""

    state: Callable[[float, float], State] = changing
    name: str = "sky"
    dates: int = 1

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        state = self.state(row, col)
        if state == "unseen":
            raise NotSeenError("nothing is seen here; expected a date; give one")
        rng = np.random.default_rng((round(row), round(col)))
        return SatelliteInput(
            series=rng.normal(0, 3, (12, 10, 8, 8)).astype(np.float32),
            date_mask=np.ones(12, dtype=np.float32),
            days=np.arange(12, dtype=np.float32) * 30,
            dates_used=(datetime.date(2021, 5, 1),),
            clear=state == "clear",
        )

    radiometry: tuple[DateOffset, ...] = ()

    def source_files(self) -> tuple[Path, ...]:
        return ()


@dataclass
class Watched:
    """A model that notes which inputs every call got, and how many tiles."""

    model: TileModel
    calls: list[tuple[frozenset[str], int]] = field(default_factory=list)

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        return self.model.parts

    @property
    def batch(self) -> int:
        return self.model.batch

    @property
    def precision(self) -> str:
        return self.model.precision

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        self.calls.append((frozenset(feed), len(feed["aerial"])))
        return self.model.run(feed)

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[dict[str, NDArray[Any]]]:
        return map(self.run, feeds)

    def run_satellite(self, feed: Feed) -> dict[str, NDArray[Any]]:
        return self.model.run_satellite(feed)


@pytest.fixture(scope="module")
def late(write_bundle: Write, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle whose aerial branch maps alone too."""
    folder = tmp_path_factory.mktemp("late") / "late.segx"
    return open_bundle(write_bundle(folder, single_branch=True))


@pytest.fixture(scope="module")
def aerial(write_aerial: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raster with a hole of nodata across several tiles."""
    pixels = np.random.default_rng(1).integers(1, 255, (5, *SHAPE), dtype=np.uint8)
    pixels[:, 60:75, 20:90] = 0
    return write_aerial(tmp_path_factory.mktemp("aerial") / "a.tif", pixels, nodata=0)


@dataclass
class Run:
    """Maps some imagery with some series; everything into folders of its own."""

    bundle: Bundle
    aerial: Path
    folder: Path
    calls: list[tuple[frozenset[str], int]] = field(default_factory=list)
    report: Report | None = None
    out: Path = Path()

    def __call__(
        self, series: SatelliteSource | None, policy: MissingSatellite, batch: int = 1
    ) -> dict[str, NDArray[np.uint8]]:
        self.out = self.folder / str(len(list(self.folder.iterdir())))
        model = Watched(open_model(self.bundle, CHOICE, threads=1, batch=batch))
        self.report = infer(
            [Scene(aerial=self.aerial, satellite=series)],
            self.bundle.card,
            model,
            self.out,
            tally=Tally(CHOICE),
            options=InferOptions(quality=True, confidence=True, missing_satellite=policy),
        )
        self.calls = model.calls
        names = ("landcover", "confidence", "quality")
        return {name: read(self.out / f"a_{name}.tif")[0] for name in names}


@pytest.fixture
def run(late: Bundle, aerial: Path, tmp_path: Path) -> Run:
    return Run(late, aerial, tmp_path)


def states_of_pixels(state: Callable[[float, float], State]) -> NDArray[Any]:
    """State of the tile that maps each pixel."""
    found = np.empty(SHAPE, dtype=object)
    for tile in PLAN:
        found[tile.interior] = state(*centre(tile))
    return found


def centre(tile: Tile) -> tuple[float, float]:
    return tile.row + TILE / 2, tile.col + TILE / 2


def everywhere(state: State) -> Sky:
    return Sky(state=lambda row, col: state)


def test_maps_of_every_state_differ_and_nodata_stays_nodata(run: Run) -> None:
    seen = run(everywhere("clear"), "refuse")
    alone = run(None, "aerial-only")
    hidden = seen["quality"] == NODATA
    assert hidden.sum() == 15 * 70
    assert (seen["quality"][~hidden] == GOOD).all()
    assert (alone["quality"][~hidden] == AERIAL_ONLY).all()
    for maps in (seen, alone):
        for values in maps.values():
            np.testing.assert_array_equal(values == NODATA, hidden)
    assert (seen["landcover"] != alone["landcover"])[~hidden].mean() > 0.05


def test_covered_dates_are_taken_and_marked(run: Run) -> None:
    def covered(row: float, col: float) -> State:
        return "covered" if changing(row, col) == "covered" else "clear"

    expected = run(everywhere("clear"), "refuse")
    found = run(Sky(state=covered), "nearest-dates")
    for name in ("landcover", "confidence"):
        np.testing.assert_array_equal(found[name], expected[name])
    marked = np.where(states_of_pixels(covered) == "covered", COVERED_DATES, GOOD)
    known = expected["quality"] != NODATA
    np.testing.assert_array_equal(found["quality"], np.where(known, marked, NODATA))
    assert run.report is not None
    assert run.report.satellite is not None
    count = sum(covered(*centre(tile)) == "covered" for tile in PLAN)
    assert run.report.satellite.tiles_covered == count > 1
    assert run.report.satellite.tiles_clear == len(PLAN) - count


@pytest.mark.parametrize("strip", [1, 100])
@pytest.mark.parametrize("batch", [1, 3])
def test_tiles_with_and_without_satellite_go_side_by_side(
    batch: int, strip: int, run: Run, few_columns: Callable[[int], None]
) -> None:
    """Strips change the order of tiles, and batches what stands beside them."""
    few_columns(strip)
    seen, alone = run(everywhere("clear"), "refuse"), run(None, "aerial-only")
    found = run(Sky(), "aerial-only", batch)
    clear = states_of_pixels(changing) == "clear"
    for name, values in found.items():
        np.testing.assert_array_equal(values, np.where(clear, seen[name], alone[name]), name)
    series = {"satellite", "date_mask", "days"}
    for names, tiles in run.calls:
        assert names in ({"aerial"} | series, {"aerial", "satellite_logits"})
        assert tiles == batch
    assert {len(names) for names, _ in run.calls} == {2, 4}
    assert run.report is not None
    use = run.report.satellite
    assert use is not None
    count = sum(changing(*centre(tile)) == "clear" for tile in PLAN)
    assert (use.tiles_clear, use.tiles_aerial_only) == (count, len(PLAN) - count)
    assert (use.encoder_runs, use.tiles_covered, use.policy) == (count, 0, "aerial-only")


@pytest.mark.parametrize(
    ("policy", "state"),
    [("refuse", "covered"), ("refuse", "unseen"), ("nearest-dates", "unseen")],
)
def test_what_a_policy_refuses_leaves_no_map(
    policy: MissingSatellite, state: State, run: Run
) -> None:
    def late_in_the_run(row: float, col: float) -> State:
        return state if min(row, col) > 90 else "clear"

    with pytest.raises(SatelliteError, match=r"^[^\n]*--missing-satellite [^\n]*$"):
        run(Sky(state=late_in_the_run), policy)
    assert list(run.folder.rglob("*.tif")) == []


def test_a_bundle_that_needs_both_branches_is_refused_before_any_work(
    tiny_bundle: Path, aerial: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="single_branch"):
        Run(open_bundle(tiny_bundle), aerial, tmp_path)(Sky(), "aerial-only")
    assert list(tmp_path.iterdir()) == []


def test_the_policy_and_the_meaning_of_the_mask_are_stamped(run: Run) -> None:
    policies: dict[MissingSatellite, State] = {
        "refuse": "clear",
        "nearest-dates": "covered",
        "aerial-only": "unseen",
    }
    for policy, state in policies.items():
        run(everywhere(state), policy)
        for name in ("landcover", "confidence", "quality"):
            with rasterio.open(run.out / f"a_{name}.tif") as dataset:
                assert dataset.tags()["SEGX_MISSING_SATELLITE"] == policy
        with rasterio.open(run.out / "a_quality.tif") as dataset:
            meaning = dataset.tags(1)
        assert "covered" in meaning[f"QUALITY_{COVERED_DATES}"]
        assert "aerial only" in meaning[f"QUALITY_{AERIAL_ONLY}"]


@pytest.mark.parametrize(("policy", "value"), [("nearest-dates", 1), ("aerial-only", 2)])
def test_clouds_on_disk_do_the_same(
    policy: MissingSatellite,
    value: int,
    run: Run,
    write_series: Write,
    write_aerial: Write,
    tmp_path: Path,
) -> None:
    folder = write_series(tmp_path / "sentinel2", days=("20210420", "20210810"))
    for day in ("20210420", "20210810"):
        with rasterio.open(folder / f"S2_{day}.tif") as dataset:
            profile = {"crs": str(dataset.crs), "transform": dataset.transform}
        clouds = np.full((2, 40, 40), 100, dtype=np.uint8)
        write_aerial(folder / f"S2_{day}_masks.tif", clouds, bands=(), **profile)
    series = open_series(folder)
    found = run(series, policy)
    known = found["quality"] != NODATA
    assert (found["quality"][known] == value).all()
    assert run.report is not None
    assert run.report.satellite is not None
    assert run.report.satellite.encoder_runs == (len(PLAN) if value == COVERED_DATES else 0)
    with pytest.raises(SatelliteError, match="no clear date"):
        run(series, "refuse")
