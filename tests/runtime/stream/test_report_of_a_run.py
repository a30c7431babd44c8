"""The report of a run adds up, and says what the run was."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from local_model import (
    HALO,
    TILE,
    LocalModel,
    OneByOne,
    card_of,
    map_files,
    noise,
    read,
    write,
)
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.card import ModelCard
from runtime.grid import Grid
from runtime.jsonfile import plain
from runtime.pipeline import infer
from runtime.radiometry import DateOffset
from runtime.report import Fit
from runtime.satellite import SatelliteInput, SatelliteSpec
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally

STAGES = ["read", "prepare", "infer", "write", "finish"]
STRIDE = TILE - 2 * HALO
SHAPE = (300, 200)
TILES = (-(-SHAPE[0] // STRIDE), -(-SHAPE[1] // STRIDE))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "a.tif", noise(*SHAPE))


@pytest.mark.parametrize("blend", [False, True])
def test_what_every_stage_works_and_waits_fits_into_the_run(
    blend: bool, few_columns: Callable[[int], None], path: Path, tmp_path: Path
) -> None:
    few_columns(3)
    model = LocalModel(probabilities=blend)
    report = map_files([path], tmp_path / "maps", model, blend=blend)
    assert set(report.stages_s) == set(STAGES)
    for stage in STAGES:
        waited = report.waiting_s[stage]
        assert min(report.stages_s[stage], *waited.values()) >= 0
        assert 0 < report.stages_s[stage] + sum(waited.values()) <= report.wall_s
    assert report.waiting_s["read"]["input"] == 0
    assert report.bound_by == max(STAGES, key=report.stages_s.__getitem__)
    # All stages live at once: together they live longer than any of them could alone.
    lives = [report.stages_s[stage] + sum(report.waiting_s[stage].values()) for stage in STAGES]
    assert sum(lives) > report.wall_s
    assert report.latency_ms.mean * report.tiles / 1e3 <= report.stages_s["infer"]
    assert report.model_share is not None
    assert 0 < report.model_share <= 1
    assert report.efficiency is None, "the model alone was not measured"


def test_the_plan_is_what_was_done(
    few_columns: Callable[[int], None], path: Path, tmp_path: Path
) -> None:
    few_columns(3)
    seen: list[tuple[int, int]] = []
    report = map_files(
        [path],
        tmp_path / "maps",
        LocalModel(batch=2),
        on_tile=lambda done, total: seen.append((done, total)),
        max_memory=2**33,
    )
    total = TILES[0] * TILES[1]
    assert seen == [(done, total) for done in range(1, total + 1)]
    assert (report.tiles, report.tiles_skipped) == (total, 0)
    assert plain(report.plan) == {
        "tile_size": TILE,
        "halo": HALO,
        "halo_exact": True,
        "stride": STRIDE,
        "lattice_px": 4,
        "strips": -(-TILES[1] // 3),
        "batch": 2,
        "recompute": total * TILE**2 / report.pixels,
        "blend": False,
        "tta": "none",
        "runs_per_tile": 1,
    }
    assert report.memory is not None
    assert report.memory.limit_mib == 2**33 / 2**20
    assert report.memory.planned_mib <= report.memory.limit_mib
    assert report.fit == Fit()
    assert (report.damaged, report.resumed) == ((), False)
    assert (report.pixels, report.outputs) == (
        SHAPE[0] * SHAPE[1],
        (str(tmp_path / "maps" / "a_landcover.tif"),),
    )
    written = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert written == json.loads(json.dumps(plain(report)))


@pytest.mark.parametrize("strip", [1, 100])
def test_seams_show_what_the_halo_is_worth(
    strip: int, few_columns: Callable[[int], None], path: Path, tmp_path: Path
) -> None:
    few_columns(strip)
    wide = card_of(TILE + 16, HALO + 8)
    found = [
        map_files([path], tmp_path / name, card=card, halo=halo)
        for name, card, halo in (("wide", wide, None), ("as it is", card_of(), None))
    ]
    shares = []
    for report in found:
        assert report.seams is not None
        assert report.seams.share is not None
        assert report.seams.pixels > 10_000 or strip == 1
        shares.append(report.seams.share)
    assert shares[0] == 0 < shares[1] <= 1
    lowered = map_files([path], tmp_path / "lowered", card=wide, halo=4)
    assert lowered.plan is not None
    assert not lowered.plan.halo_exact
    none = map_files([write(tmp_path / "b.tif", noise(9, 9))], tmp_path / "none")
    assert none.seams is None


def test_what_a_run_went_on_with_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", noise(1200, 90))
    tiles = 38 * 3
    with pytest.raises(ZeroDivisionError):
        map_files([path], tmp_path / "maps", LocalModel(fail_at=70))
    report = map_files([path], tmp_path / "maps")
    assert report.resumed
    assert 0 < report.tiles < tiles
    assert report.pixels == 1200 * 90, "of the maps, not of this run alone"
    # The first block row was there; the tiles that had been run are far beyond its end.
    mapped_now = report.mpx_per_s * report.wall_s * 1e6
    assert mapped_now == pytest.approx((1200 - 512) * 90)
    assert report.km2_per_h * report.wall_s / 3600 == pytest.approx(mapped_now * 0.04e-6)


def test_tiles_without_data_are_counted_apart(tmp_path: Path) -> None:
    pixels = noise(*SHAPE)
    pixels[100:250] = 0
    path = write(tmp_path / "a.tif", pixels)
    with rasterio.open(path, "r+") as dataset:
        dataset.nodata = 0
    model = LocalModel()
    report = map_files([path], tmp_path / "maps", model)
    # The interiors of rows 4 to 6 hold nothing.
    assert report.tiles_skipped == 3 * TILES[1]
    assert report.tiles == len(model.runs) == TILES[0] * TILES[1] - report.tiles_skipped
    assert report.damaged == ()


class Alike(OneByOne):
    """A model that sees nothing."""

    def run(self, feed: Any) -> dict[str, NDArray[Any]]:
        empty = np.zeros((1, TILE, TILE), dtype=np.uint8)
        return {"classes": empty, "confidence": empty}


class Dated:
    """A series of two dates, of which tiles use the later one."""

    name = "dated"
    dates = 2

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        return SatelliteInput(
            series=np.zeros((12, 10, 8, 8), dtype=np.float32),
            date_mask=np.ones(12, dtype=np.float32),
            days=np.zeros(12, dtype=np.float32),
            dates_used=(date(2021, 6, 30),),
        )

    radiometry: tuple[DateOffset, ...] = ()

    def source_files(self) -> tuple[Path, ...]:
        return ()


def card_with_satellite() -> ModelCard:
    return replace(card_of(), satellite=SatelliteSpec(window=8))


@pytest.mark.parametrize(
    ("names", "days"),
    [
        (("a_20210630",), 0),
        (("a_20210620", "b_20210705"), 10),
        (("a_2018-06-30", "b"), 1096),
        (("a", "b"), None),
    ],
)
def test_the_gap_between_the_sensors_is_that_of_the_worst_file(
    names: tuple[str, ...], days: int | None, tmp_path: Path
) -> None:
    paths = [
        write(tmp_path / f"{name}.tif", noise(60, 70), 60 * place)
        for place, name in enumerate(names)
    ]
    report = infer(
        [Scene(aerial=path, satellite=Dated()) for path in paths],
        card_with_satellite(),
        Alike(),
        tmp_path / "maps",
        tally=Tally(BackendChoice(name="onnxruntime", reason="a test")),
        options=InferOptions(),
    )
    assert report.satellite is not None
    assert report.satellite.date_gap_days == days
    assert (report.satellite.dates_used, report.satellite.dates_total) == (1, 2)
    assert not read(tmp_path / "maps" / f"{names[0]}_landcover.tif").any()
