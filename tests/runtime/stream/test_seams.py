from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.stream.seams import (
    SEAM_PX,
    SeamAgreement,
    SeamCount,
    SeamMeter,
    compare_at_seams,
    seam_mask,
)
from runtime.tiler import Tile, TilePlan

REACH = 3
"""Pixels that the small network below looks at on each side of a pixel."""


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    """Halos up to wider than a seam, lattices that begin outside the raster."""
    stride, halo = draw(st.integers(4, 16)), draw(st.integers(0, 11))
    return TilePlan(
        shape=(draw(st.integers(1, 50)), draw(st.integers(1, 50))),
        size=stride + 2 * halo,
        halo=halo,
        origin=(draw(st.integers(1 - stride, 0)), draw(st.integers(1 - stride, 0))),
    )


# Seams of a plan.


@given(plans())
@settings(max_examples=50)
def test_seams_are_the_pixels_near_a_border_between_two_interiors(plan: TilePlan) -> None:
    owner = np.zeros(plan.shape, dtype=np.int64)
    for number, tile in enumerate(plan):
        owner[tile.interior] = number
    expected = np.zeros(plan.shape, dtype=np.bool_)
    for axis in (0, 1):
        changes = np.diff(owner, axis=axis).any(axis=1 - axis)
        for border in (np.flatnonzero(changes) + 1).tolist():
            near = slice(max(border - SEAM_PX, 0), border + SEAM_PX)
            expected[(near, slice(None)) if axis == 0 else (slice(None), near)] = True
    np.testing.assert_array_equal(seam_mask(plan), expected)


# Tiles against their neighbours.


def predictions(plan: TilePlan) -> Iterator[tuple[Tile, NDArray[np.uint8], NDArray[np.bool_]]]:
    """Classes that depend on the tile, and validity that depends on the pixel."""
    height, width = plan.shape
    valid = np.random.default_rng(1).random(plan.shape) < 0.8
    for tile in plan:
        rng = np.random.default_rng((tile.row + 1000, tile.col + 1000))
        classes = rng.integers(0, 3, (plan.size, plan.size), dtype=np.uint8)
        rows = np.clip(np.arange(tile.row, tile.row + plan.size), 0, height - 1)
        cols = np.clip(np.arange(tile.col, tile.col + plan.size), 0, width - 1)
        yield tile, classes, valid[np.ix_(rows, cols)]


def on_raster(plan: TilePlan) -> dict[tuple[int, int], NDArray[np.uint8]]:
    """What each tile predicts, on a raster of its own that is 255 elsewhere."""
    height, width = plan.shape
    far = plan.size
    found = {}
    for tile, classes, valid in predictions(plan):
        raster = np.full((height + 2 * far, width + 2 * far), 255, dtype=np.uint8)
        rows = slice(tile.row + far, tile.row + far + plan.size)
        raster[rows, tile.col + far : tile.col + far + plan.size] = np.where(valid, classes, 255)
        found[tile.row, tile.col] = raster[far : far + height, far : far + width]
    return found


def brute_force(plan: TilePlan, left_out: set[tuple[int, int]], cols: slice) -> SeamCount:
    reach = min(SEAM_PX, plan.margin)
    found = on_raster(plan)
    pixels = differing = 0
    for tile in plan:
        place, (down, along) = (tile.row, tile.col), tile.interior
        for axis, border in enumerate((down.start, along.start)):
            step = plan.stride * (axis == 0), plan.stride * (axis == 1)
            other = place[0] - step[0], place[1] - step[1]
            known = place in found and other in found and not {place, other} & left_out
            if not known or not cols.start <= along.start < cols.stop:
                continue
            band = slice(max(border - reach, 0), border + reach)
            part = (band, along) if axis == 0 else (down, band)
            mine, theirs = found[place][part], found[other][part]
            both = (mine < 255) & (theirs < 255)
            pixels += int(both.sum())
            differing += int((both & (mine != theirs)).sum())
    return SeamCount(pixels=pixels, differing=differing)


@given(plans(), st.data())
@settings(max_examples=40)
def test_both_sides_of_every_border_are_compared(plan: TilePlan, data: st.DataObject) -> None:
    left_out = {(t.row, t.col) for t in plan if data.draw(st.integers(0, 9), label="out") == 0}
    start = data.draw(st.integers(0, plan.shape[1] - 1))
    cols = slice(start, data.draw(st.integers(start + 1, plan.shape[1])))
    meter = SeamMeter(plan, cols)
    for tile, classes, valid in predictions(plan):
        if (tile.row, tile.col) not in left_out:
            meter.add(tile, classes, valid)
    expected = brute_force(plan, left_out, cols)
    assert meter.count == expected
    assert (meter.pixels, meter.share) == (expected.pixels, expected.share)


def test_strips_that_know_their_neighbours_add_up_to_the_whole() -> None:
    plan = TilePlan(shape=(40, 70), size=24, halo=5, origin=(-3, -9))
    counts = []
    for cols in (slice(0, 70), slice(0, 33), slice(33, 70)):
        meter = SeamMeter(plan, cols)
        for given_tile in predictions(plan):
            meter.add(*given_tile)
        counts.append(meter.count)
    assert counts[0].pixels > 0
    assert SeamCount.total(counts[1:]) == counts[0]


@pytest.mark.parametrize(("shape", "halo"), [((30, 30), 0), ((24, 24), 8), ((8, 8), 8)])
def test_without_overlap_nothing_is_compared(shape: tuple[int, int], halo: int) -> None:
    plan = TilePlan(shape=shape, size=24, halo=halo)
    meter = SeamMeter(plan, slice(0, shape[1]))
    for given_tile in predictions(plan):
        meter.add(*given_tile)
    assert (meter.pixels, meter.share) == (0, None)


# Against a map made in one pass, with a network of a known reach.


def classify(image: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Classes from sums over squares; the network pads with zeros."""
    padded = np.pad(image, REACH)
    sums = np.lib.stride_tricks.sliding_window_view(padded, (2 * REACH + 1,) * 2).sum(axis=(2, 3))
    classes: NDArray[np.uint8] = (sums % 5).astype(np.uint8)
    return classes


def run(
    halo: int, shape: tuple[int, int] = (75, 90), size: int = 40
) -> tuple[SeamMeter, SeamAgreement]:
    plan = TilePlan(shape=shape, size=size, halo=halo, origin=(-1, -2))
    image = np.random.default_rng(0).integers(0, 9, shape)
    padded = np.pad(image, size, mode="reflect")
    reference = classify(padded)[size:-size, size:-size]
    found = np.full(shape, 255, dtype=np.uint8)
    meter = SeamMeter(plan, slice(0, shape[1]))
    for tile in plan:
        rows = slice(tile.row + size, tile.row + 2 * size)
        classes = classify(padded[rows, tile.col + size : tile.col + 2 * size])
        meter.add(tile, classes, np.ones((size, size), dtype=np.bool_))
        found[tile.interior] = classes[tile.source]
    return meter, compare_at_seams(found, reference, plan)


def test_with_an_exact_halo_no_seam_shows() -> None:
    assert run(REACH)[1] == SeamAgreement(near=1, elsewhere=1)
    meter, agreement = run(REACH + SEAM_PX)
    assert agreement == SeamAgreement(near=1, elsewhere=1)
    assert meter.pixels > 0
    assert meter.share == 0


@pytest.mark.parametrize("halo", range(REACH))
def test_with_too_small_a_halo_seams_show(halo: int) -> None:
    meter, agreement = run(halo)
    assert agreement.near is not None
    assert agreement.elsewhere is not None
    assert agreement.near < agreement.elsewhere - 0.05
    assert (meter.share is None) == (halo == 0)
    assert meter.share is None or meter.share > 0


def test_a_meter_sees_context_that_is_missing_before_the_map_does() -> None:
    meter, agreement = run(REACH + SEAM_PX - 1)
    assert agreement.near == 1
    assert meter.share is not None
    assert meter.share > 0


def test_nodata_in_both_maps_does_not_count_and_in_one_differs() -> None:
    plan = TilePlan(shape=(8, 40), size=20, halo=0)
    reference = np.zeros((8, 40), dtype=np.uint8)
    reference[:, :2] = 255
    found = reference.copy()
    assert compare_at_seams(found, reference, plan) == SeamAgreement(near=1, elsewhere=1)
    found[:, 3:12] = 255
    assert compare_at_seams(found, reference, plan) == SeamAgreement(near=1, elsewhere=13 / 22)
    found[:, 20:28] = 1
    assert compare_at_seams(found, reference, plan) == SeamAgreement(near=0.5, elsewhere=13 / 22)


def test_where_there_is_nothing_to_compare_nothing_is_said() -> None:
    patch = np.zeros((20, 20), dtype=np.uint8)
    single = TilePlan(shape=(20, 20), size=20, halo=4)
    assert compare_at_seams(patch, patch, single) == SeamAgreement(near=None, elsewhere=1)
    narrow = TilePlan(shape=(20, 20), size=14, halo=4)
    assert compare_at_seams(patch, patch, narrow) == SeamAgreement(near=1, elsewhere=None)


def test_a_map_of_another_shape_is_refused() -> None:
    plan = TilePlan(shape=(20, 20), size=14, halo=4)
    maps = np.zeros((20, 20), dtype=np.uint8), np.zeros((20, 19), dtype=np.uint8)
    for found, reference in (maps, maps[::-1]):
        with pytest.raises(ValueError, match=r"a map of shape \(20, 19\); expected \(20, 20\)"):
            compare_at_seams(found, reference, plan)
