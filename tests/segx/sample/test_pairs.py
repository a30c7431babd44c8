"""What tells classes apart: the season pairs from the air, the detail pairs from Sentinel-2."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from segx.sample import DETAIL_PAIRS, SEASON_PAIRS
from segx.sample import area as area_module
from segx.sample.aerial import photograph
from segx.sample.area import Area, build_area
from segx.sample.classes import COVERS, Cover
from segx.sample.land import Land, lay_out
from segx.sample.noise import Bounds
from segx.sample.satellite import Axes, Series, simulate

SHAPE = (900, 1100)
SEED = 3


def swap_table(pairs: Sequence[tuple[Cover, Cover]]) -> NDArray[np.uint8]:
    table = np.arange(COVERS, dtype=np.uint8)
    for one, other in pairs:
        table[[one, other]] = other, one
    return table


def build_swapped(monkeypatch: pytest.MonkeyPatch, pairs: Sequence[tuple[Cover, Cover]]) -> Area:
    def swapped(bounds: Bounds, core: Bounds, rng: np.random.Generator) -> Land:
        land = lay_out(bounds, core, rng)
        return dataclasses.replace(land, cover=swap_table(pairs)[land.cover])

    with monkeypatch.context() as patch:
        patch.setattr(area_module, "lay_out", swapped)
        return build_area(SHAPE, np.random.default_rng(SEED))


def satellite_of(area: Area, table: NDArray[np.uint8] | None = None) -> Series:
    if table is not None:
        fine = dataclasses.replace(area.fine, cover=table[area.fine.cover])
        coarse = dataclasses.replace(area.coarse, cover=table[area.coarse.cover])
        area = Area(fine=fine, coarse=coarse)

    def locate(rows: NDArray[np.float64], cols: NDArray[np.float64]) -> Axes:
        return rows * 10 - 103.0, cols * 10 - 98.0

    return simulate(area, (40, 44), locate, np.random.default_rng(8))


def test_swapping_the_season_pairs_changes_the_labels_and_not_one_byte_of_the_aerial_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    area = build_area(SHAPE, np.random.default_rng(SEED))
    other = build_swapped(monkeypatch, SEASON_PAIRS)
    np.testing.assert_array_equal(other.fine.cover, swap_table(SEASON_PAIRS)[area.fine.cover])
    for one, two in SEASON_PAIRS:
        assert (area.fine.cover == one).mean() > 0.01
        assert (area.fine.cover == two).mean() > 0.01
    images = [photograph(built.fine, np.random.default_rng(5)) for built in (area, other)]
    np.testing.assert_array_equal(images[0], images[1])
    # Sentinel-2 sees the difference.
    assert (satellite_of(area).dn != satellite_of(other).dn).mean() > 0.3


def test_swapping_the_detail_pairs_changes_not_one_number_of_the_sentinel_2_year() -> None:
    area = build_area(SHAPE, np.random.default_rng(SEED))
    plain, other = satellite_of(area), satellite_of(area, swap_table(DETAIL_PAIRS))
    np.testing.assert_allclose(plain.dn.astype(int), other.dn.astype(int), atol=1)
    np.testing.assert_array_equal(plain.cover, other.cover)


def test_the_detail_pairs_differ_in_the_aerial_image() -> None:
    area = build_area(SHAPE, np.random.default_rng(SEED))
    image = photograph(area.fine, np.random.default_rng(5)).astype(np.float32)
    cover = area.fine.cover
    assert image[4][cover == Cover.BUILDING].mean() > image[4][cover == Cover.IMPERVIOUS].mean() + 8
    vines, bushes = (np.unique(area.fine.height[cover == kind]) for kind in DETAIL_PAIRS[0])
    np.testing.assert_allclose(vines, [0.0, 1.4])
    assert len(bushes) > 1000
