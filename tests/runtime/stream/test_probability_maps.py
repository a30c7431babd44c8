"""Maps of probabilities, cropped and blended."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_model import HALO, TILE, LocalModel, card_of, map_files, noise, read, write
from numpy.typing import NDArray

from runtime.output.kinds import NODATA
from runtime.raster import reflected
from runtime.tiler import TilePlan

K = 13
MOST = 254
NAMES = ("landcover", "confidence", "probabilities")


def mapped(
    pixels: NDArray[np.uint8], folder: Path, *, blend: bool, tile: int = TILE, halo: int = HALO
) -> list[NDArray[np.uint8]]:
    """Classes, confidence and probabilities of a raster."""
    path = write(folder / "a.tif", pixels)
    model = LocalModel(probabilities=True, batch=2)
    map_files(
        [path],
        folder / "maps",
        model,
        card=card_of(tile, halo),
        blend=blend,
        confidence=True,
        probabilities=True,
    )
    return [read(folder / "maps" / f"a_{name}.tif") for name in NAMES]


def weights_along(size: int, halo: int) -> NDArray[np.float64]:
    """A raised cosine over the overlap on either side, 1 between them; where both meet, both."""
    rise = np.ones(size)
    for position in range(2 * halo):
        rise[position] = (1 - np.cos(np.pi * (position + 0.5) / (2 * halo))) / 2
    return rise * rise[::-1]


def brute_force(pixels: NDArray[np.uint8], size: int, halo: int) -> NDArray[np.float64]:
    """Weighted mean of the probabilities of all tiles, summed up over the whole raster."""
    height, width = pixels.shape
    plan = TilePlan(shape=pixels.shape, size=size, halo=halo)
    window = np.multiply.outer(*[weights_along(size, plan.margin)] * 2)
    room = 2 * size
    total = np.zeros((K, height + 2 * room, width + 2 * room))
    weight = np.zeros(total.shape[1:])
    for tile in plan:
        rows, cols = (
            reflected(at, size, side) for at, side in ((tile.row, height), (tile.col, width))
        )
        feed = {"aerial": pixels[np.ix_(rows, cols)][None, None]}
        found = LocalModel(probabilities=True).run(feed)["probabilities"][0]
        place = np.s_[
            room + tile.row : room + tile.row + size, room + tile.col : room + tile.col + size
        ]
        total[(slice(None), *place)] += found * window
        weight[place] += window
    inner = np.s_[room : room + height, room : room + width]
    blended: NDArray[np.float64] = total[(slice(None), *inner)] / weight[inner]
    return blended


@settings(max_examples=10)
@given(
    height=st.integers(1, 110),
    width=st.integers(1, 110),
    sizes=st.sampled_from([(48, 8), (48, 4), (40, 12), (64, 8)]),
)
def test_a_blended_map_is_the_weighted_mean_of_all_tiles(
    height: int,
    width: int,
    sizes: tuple[int, int],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pixels = noise(height, width)
    expected = brute_force(pixels, *sizes)
    folder = tmp_path_factory.mktemp("blend")
    found = mapped(pixels, folder, blend=True, tile=sizes[0], halo=sizes[1])
    classes, confidence, probabilities = found
    np.testing.assert_allclose(probabilities, expected * MOST, atol=0.5 + 1e-3)
    np.testing.assert_allclose(confidence[0], expected.max(axis=0) * MOST, atol=0.5 + 1e-3)
    winner = np.take_along_axis(expected, classes.astype(np.intp), axis=0)[0]
    np.testing.assert_allclose(winner, expected.max(axis=0), atol=1e-6)


@pytest.mark.parametrize("blend", [False, True])
@pytest.mark.parametrize("strip", [1, 100])
def test_probabilities_sum_to_one_and_the_others_follow_from_them(
    blend: bool, strip: int, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    few_columns(strip)
    classes, confidence, probabilities = mapped(noise(123, 131), tmp_path, blend=blend)
    assert probabilities.shape == (K, 123, 131)
    sums = probabilities.sum(axis=0, dtype=np.int64)
    assert np.abs(sums - MOST).max() <= K / 2
    assert len(np.unique(sums)) > 1, "rounding shows"
    np.testing.assert_array_equal(confidence[0], probabilities.max(axis=0))
    winner = np.take_along_axis(probabilities, classes.astype(np.intp), axis=0)
    np.testing.assert_array_equal(winner[0], confidence[0])
    assert len(np.unique(classes)) > 3
    assert probabilities.max() < NODATA


def test_blending_changes_the_overlaps_only(tmp_path: Path) -> None:
    pixels = noise(100, 110)
    cropped = mapped(pixels, tmp_path / "cropped", blend=False)
    blended = mapped(pixels, tmp_path / "blended", blend=True)
    stride = TILE - 2 * HALO
    near = [np.zeros(size, dtype=np.bool_) for size in pixels.shape]
    for flags in near:
        for border in range(stride, len(flags), stride):
            flags[border - HALO : border + HALO] = True
    overlap = near[0][:, None] | near[1][None, :]
    for before, after in zip(cropped, blended, strict=True):
        np.testing.assert_array_equal(before[:, ~overlap], after[:, ~overlap])
    assert (cropped[2] != blended[2])[:, overlap].any()
