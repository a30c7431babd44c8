import tracemalloc
from collections import deque
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.output.values import maps_of
from runtime.stream.blend import Blender, blend_bytes, tile_weights, tiles_for
from runtime.tiler import Tile, TilePlan

K = 3
Predict = Callable[[Tile], NDArray[np.float32]]


@st.composite
def plans(draw: st.DrawFn) -> TilePlan:
    """Halos up to wider than an interior, lattices that begin outside the raster."""
    stride, halo = draw(st.integers(3, 12)), draw(st.integers(0, 10))
    return TilePlan(
        shape=(draw(st.integers(1, 40)), draw(st.integers(1, 40))),
        size=stride + 2 * halo,
        halo=halo,
        origin=(draw(st.integers(1 - stride, 0)), draw(st.integers(1 - stride, 0))),
    )


def some(draw: st.DataObject, side: int) -> slice:
    start = draw.draw(st.integers(0, side - 1))
    return slice(start, draw.draw(st.integers(start + 1, side)))


def shares(plan: TilePlan) -> Predict:
    """Probabilities of a tile that depend on the tile alone."""

    def predict(tile: Tile) -> NDArray[np.float32]:
        rng = np.random.default_rng((tile.row + 1000, tile.col + 1000))
        found = rng.random((K, plan.size, plan.size), dtype=np.float32) ** 4 + np.float32(0.01)
        found /= found.sum(axis=0)
        return found

    return predict


def brute_force(plan: TilePlan, predict: Predict) -> NDArray[np.float64]:
    """Sums of weighted tiles over sums of weights, over the whole raster."""
    far = 3 * plan.size
    height, width = plan.shape
    total = np.zeros((K, height + 2 * far, width + 2 * far))
    weight = np.zeros(total.shape[1:])
    ramp = np.minimum((np.arange(plan.size) + 0.5) / max(2 * plan.margin, 0.5), 1)
    axis = (1 - np.cos(np.pi * ramp)) / 2
    window = np.multiply.outer(axis * axis[::-1], axis * axis[::-1])
    for tile in plan:
        rows = slice(tile.row + far, tile.row + far + plan.size)
        cols = slice(tile.col + far, tile.col + far + plan.size)
        total[:, rows, cols] += predict(tile) * window
        weight[rows, cols] += window
    inside = slice(far, far + height), slice(far, far + width)
    return total[:, inside[0], inside[1]] / weight[inside]


def blended(
    plan: TilePlan,
    predict: Predict,
    cols: slice | None = None,
    rows: slice | None = None,
    skipped: Callable[[Tile], bool] = lambda tile: False,
) -> NDArray[np.float32]:
    """What a `Blender` gives, over the whole raster; NaN where it gives nothing."""
    result = np.full((K, *plan.shape), np.nan, dtype=np.float32)
    cols = cols or slice(0, plan.shape[1])
    blender = Blender(plan, cols, K, rows=rows)
    for tile in tiles_for(plan, cols, rows):
        if skipped(tile):
            blender.skip(tile)
        else:
            blender.add(tile, predict(tile))
        for down, along, values in blender.take():
            assert np.isnan(result[:, down, along]).all(), "no pixel is given twice"
            result[:, down, along] = values
    blender.finish()
    return result


@given(plans())
@settings(max_examples=25)
def test_blended_pieces_equal_weighted_sums_over_the_whole_raster(plan: TilePlan) -> None:
    expected = brute_force(plan, shares(plan))
    found = blended(plan, shares(plan))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    ordered = np.sort(expected, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-6
    assert (found.argmax(axis=0) == expected.argmax(axis=0))[clear].all()


@given(plans(), st.data())
@settings(max_examples=25)
def test_a_window_of_the_raster_is_blended_to_the_same_bits(
    plan: TilePlan, data: st.DataObject
) -> None:
    rows, cols = some(data, plan.shape[0]), some(data, plan.shape[1])
    found = blended(plan, shares(plan), cols, rows)
    inside = (slice(None), rows, cols)
    np.testing.assert_array_equal(found[inside], blended(plan, shares(plan))[inside])
    assert np.isfinite(found).sum() == found[inside].size, "nothing outside is given"


@given(plans(), st.data())
@settings(max_examples=25)
def test_skipped_tiles_change_nothing_outside_themselves(
    plan: TilePlan, data: st.DataObject
) -> None:
    share = data.draw(st.floats(0, 1))

    def skipped(tile: Tile) -> bool:
        return bool(np.random.default_rng((tile.row + 1000, tile.col + 1000)).random() < share)

    found = blended(plan, shares(plan), skipped=skipped)
    untouched = np.ones(plan.shape, dtype=np.bool_)
    for tile in filter(skipped, plan):
        rows = slice(max(tile.row, 0), tile.row + plan.size)
        untouched[rows, max(tile.col, 0) : tile.col + plan.size] = False
    expected = blended(plan, shares(plan))
    np.testing.assert_array_equal(found[:, untouched], expected[:, untouched])
    assert np.isfinite(found).all()


@given(plans())
@settings(max_examples=25)
def test_what_all_tiles_agree_on_stays_as_it_is(plan: TilePlan) -> None:
    shape = (K, plan.size, plan.size)
    constant = np.broadcast_to(np.array([0.2, 0.7, 0.1], np.float32)[:, None, None], shape)
    found = blended(plan, lambda tile: constant)
    expected = np.broadcast_to(constant[:, :1, :1], found.shape)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-7)


@settings(max_examples=50)
@given(stride=st.integers(1, 40), margin=st.integers(0, 40), tiles=st.integers(1, 9))
def test_weights_along_an_axis_sum_to_one(stride: int, margin: int, tiles: int) -> None:
    size = stride + 2 * margin
    total = np.zeros(size + (tiles - 1) * stride)
    for tile in range(tiles):
        weights = tile_weights(size, margin, tile, tiles - 1 - tile)
        assert (weights > 0).all()
        total[tile * stride : tile * stride + size] += weights
    np.testing.assert_allclose(total, 1, rtol=0, atol=1e-6)


@given(st.integers(1, 40), st.integers(0, 40))
def test_weights_are_raised_cosines_over_the_overlaps_and_one_elsewhere(
    margin: int, more: int
) -> None:
    size = 4 * margin + more
    place = (np.arange(2 * margin) + 0.5) / (2 * margin)
    rise = (1 - np.cos(np.pi * place)) / 2
    flat = np.ones(size - 4 * margin)
    np.testing.assert_allclose(
        tile_weights(size, margin, 1, 1), [*rise, *flat, *rise[::-1]], rtol=0, atol=1e-7
    )
    assert (tile_weights(size, margin, 0, 1)[: size - 2 * margin] == 1).all()
    assert (tile_weights(size, margin, 1, 0)[2 * margin :] == 1).all()


@pytest.mark.parametrize(("shape", "halo"), [((16, 16), 5), ((6, 6), 5), ((2, 1), 7)])
def test_a_single_tile_is_passed_on_bit_for_bit(shape: tuple[int, int], halo: int) -> None:
    plan = TilePlan(shape=shape, size=16, halo=halo)
    (tile,) = plan
    rows, cols = tile.source
    np.testing.assert_array_equal(blended(plan, shares(plan)), shares(plan)(tile)[:, rows, cols])


@given(plans(), st.data())
@settings(max_examples=25)
def test_the_tiles_of_a_window_are_those_that_reach_into_it(
    plan: TilePlan, data: st.DataObject
) -> None:
    rows, cols = some(data, plan.shape[0]), some(data, plan.shape[1])
    wanted = np.zeros(plan.shape, dtype=np.bool_)
    wanted[rows, cols] = True
    expected = [
        tile
        for tile in plan
        if wanted[
            max(tile.row, 0) : tile.row + plan.size, max(tile.col, 0) : tile.col + plan.size
        ].any()
    ]
    assert list(tiles_for(plan, cols, rows)) == expected


def test_a_strip_of_whole_interiors_needs_one_more_column_of_tiles_on_each_side() -> None:
    plan = TilePlan(shape=(50, 60), size=16, halo=3)
    needed = {tile.interior[1].start for tile in tiles_for(plan, slice(20, 40))}
    assert needed == {10, 20, 30, 40}
    needed = {tile.interior[1].start for tile in tiles_for(plan, slice(0, 20))}
    assert needed == {0, 10, 20}


def test_what_is_held_does_not_grow_with_the_height() -> None:
    size, halo, width, channels = 128, 32, 640, 8
    tile = np.ones((channels, size, size), dtype=np.float32)
    peaks = []
    for height in (200, 200, 800):
        plan = TilePlan(shape=(height, width), size=size, halo=halo)
        tracemalloc.start()
        blender = Blender(plan, slice(0, width), channels)
        for place in plan:
            blender.add(place, tile)
            deque(blender.take(), maxlen=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        blender.finish()
    _, low, high = peaks  # weights are kept from the first run on
    limit = blend_bytes(size=size, halo=halo, width=width, channels=channels)
    assert high <= 1.01 * low
    assert 0.9 * limit <= high <= 1.05 * limit


def test_tiles_out_of_turn_and_of_another_shape_are_refused() -> None:
    plan = TilePlan(shape=(30, 30), size=16, halo=3)
    first, second, *_ = plan
    tile = np.zeros((K, 16, 16), dtype=np.float32)
    blender = Blender(plan, slice(0, 30), K)
    with pytest.raises(ValueError, match=r"shape \(3, 16, 15\); expected \(3, 16, 16\)"):
        blender.add(first, tile[:, :, :15])
    with pytest.raises(ValueError, match="a tile at -3, 7; expected the one at -3, -3"):
        blender.add(second, tile)


def test_a_strip_that_is_not_complete_is_refused() -> None:
    plan = TilePlan(shape=(5, 20), size=16, halo=3)
    first, second = plan
    blender = Blender(plan, slice(0, 20), 1)
    blender.skip(first)
    with pytest.raises(ValueError, match="the tile at -3, 7 is missing"):
        blender.finish()
    blender = Blender(plan, slice(0, 20), 1)
    blender.skip(first)
    blender.skip(second)
    with pytest.raises(ValueError, match="2 pieces were not taken"):
        blender.finish()
    assert [(rows, cols) for rows, cols, _ in blender.take()] == [
        (slice(0, 5), slice(0, 7)),
        (slice(0, 5), slice(7, 20)),
    ]
    blender.finish()
    with pytest.raises(ValueError, match="a tile at -3, 7; expected no more tile"):
        blender.skip(second)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
@settings(max_examples=50)
def test_maps_follow_from_probabilities(seed: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 4, (channels, 5, 6))
    probabilities = (counts / np.maximum(counts.sum(axis=0), 1)).astype(np.float32)
    maps = maps_of(probabilities)
    assert {name: (a.dtype.name, a.shape) for name, a in maps.items()} == {
        "classes": ("uint8", (1, 5, 6)),
        "confidence": ("uint8", (1, 5, 6)),
        "probabilities": ("uint8", (channels, 5, 6)),
    }
    np.testing.assert_array_equal(maps["classes"][0], probabilities.argmax(axis=0))
    np.testing.assert_array_equal(maps["probabilities"], np.rint(probabilities * 254))
    np.testing.assert_array_equal(maps["confidence"][0], maps["probabilities"].max(axis=0))
    fewer = maps_of(probabilities, ())
    assert list(fewer) == ["classes", "confidence"]
    for name, values in fewer.items():
        np.testing.assert_array_equal(values, maps[name])


def test_certainty_that_rounding_made_larger_than_one_is_254() -> None:
    probabilities = np.array([0, 1 + 3e-7], np.float32)[:, None, None]
    maps = maps_of(probabilities)
    assert [maps[name].max() for name in ("classes", "confidence", "probabilities")] == [
        1,
        254,
        254,
    ]
