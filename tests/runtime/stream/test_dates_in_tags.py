"""Which dates the tags of each file's maps list."""

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.grid import Grid
from runtime.manifest import PartSpec, Variant
from runtime.model import TileModel, open_model
from runtime.pipeline import infer
from runtime.radiometry import DateOffset
from runtime.satellite import SatelliteInput, SatelliteSpec
from runtime.scene import Scene
from runtime.stream.options import InferOptions
from runtime.tally import Tally
from runtime.tiler import Tile, TilePlan

Feed = Mapping[str, NDArray[Any]]
CHOICE = BackendChoice(name="onnxruntime", reason="a test")
HEIGHT, WIDTHS, TILE, HALO = 560, (70, 50), 64, 16
PLAN = TilePlan(shape=(HEIGHT, sum(WIDTHS)), size=TILE, halo=HALO)


def day_of(row: float, col: float) -> datetime.date:
    """Another date in every tile."""
    place = [round((at + HALO - TILE / 2) / PLAN.stride) for at in (row, col)]
    return datetime.date(2021, 1, 1) + datetime.timedelta(days=10 * place[0] + place[1])


@dataclass(frozen=True)
class Years:
    """A series that shows each tile at a date of its own."""

    name: str = "years"
    dates: int = 400
    radiometry: tuple[DateOffset, ...] = ()

    def prepare(self, grid: Grid, row: float, col: float, spec: SatelliteSpec) -> SatelliteInput:
        return SatelliteInput(
            series=np.zeros((12, 10, 8, 8), dtype=np.float32),
            date_mask=np.ones(12, dtype=np.float32),
            days=np.zeros(12, dtype=np.float32),
            dates_used=(day_of(row, col),),
            clear=True,
        )

    def source_files(self) -> tuple[Path, ...]:
        return ()


@dataclass
class Failing:
    """A model that fails at a call."""

    model: TileModel
    left: int

    @property
    def parts(self) -> tuple[PartSpec, ...]:
        return self.model.parts

    batch = 1
    precision = "fp32"

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        self.left -= 1
        if self.left == 0:
            raise ZeroDivisionError
        return self.model.run(feed)

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[dict[str, NDArray[Any]]]:
        return map(self.run, feeds)

    def run_satellite(self, feed: Feed) -> dict[str, NDArray[Any]]:
        raise NotImplementedError


def listed(folder: Path) -> list[list[str]]:
    """Dates that the tags of both files' maps list."""
    found = []
    for name in ("a", "b"):
        with rasterio.open(folder / f"{name}_landcover.tif") as dataset:
            assert datetime.datetime.fromisoformat(dataset.tags()["SEGX_CREATED"]).tzinfo
            found.append(dataset.tags()["SEGX_SATELLITE_DATES"].split(","))
    return found


def expected(reach: Callable[[Tile], slice]) -> list[list[str]]:
    days: list[set[str]] = [set(), set()]
    for tile in PLAN:
        cols = reach(tile)
        day = str(day_of(tile.row + TILE / 2, tile.col + TILE / 2))
        if cols.start < WIDTHS[0]:
            days[0].add(day)
        if cols.stop > WIDTHS[0]:
            days[1].add(day)
    return [sorted(found) for found in days]


@pytest.mark.parametrize("blend", [False, True])
def test_each_map_lists_the_dates_of_its_own_tiles(
    blend: bool,
    tiny_bundle: Path,
    write_aerial: Callable[..., Path],
    few_columns: Callable[[int], None],
    tmp_path: Path,
) -> None:
    pixels = np.random.default_rng(2).integers(1, 255, (5, HEIGHT, sum(WIDTHS)), dtype=np.uint8)
    first = write_aerial(tmp_path / "a.tif", pixels[:, :, : WIDTHS[0]])
    with rasterio.open(first) as dataset:
        side, _, left, _, _, top = dataset.transform[:6]
    moved = Affine(side, 0, left + side * WIDTHS[0], 0, -side, top)
    second = write_aerial(tmp_path / "b.tif", pixels[:, :, WIDTHS[0] :], transform=moved)
    bundle = open_bundle(tiny_bundle)

    def run(out: Path, fail_at: int = 0) -> list[list[str]]:
        variant: Variant = "probabilities" if blend else "classes"
        model = open_model(bundle, CHOICE, threads=1, variant=variant)
        years = Years()
        scenes = [Scene(aerial=path, satellite=years) for path in (first, second)]
        infer(
            scenes,
            bundle.card,
            Failing(model, fail_at),
            out,
            tally=Tally(CHOICE),
            options=InferOptions(blend=blend),
        )
        return listed(out)

    def reach(tile: Tile) -> slice:
        return slice(max(tile.col, 0), tile.col + TILE) if blend else tile.interior[1]

    wanted = expected(reach)
    assert wanted[0] != wanted[1]
    assert run(tmp_path / "whole") == wanted
    few_columns(2)
    with pytest.raises(ZeroDivisionError):
        run(tmp_path / "maps", fail_at=45)
    assert run(tmp_path / "maps") == wanted
