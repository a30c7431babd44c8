from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

shapely = pytest.importorskip("shapely")

from rasterio.features import rasterize, shapes  # noqa: E402

from segx.gis.polygons import polygons_of  # noqa: E402

VALUES = st.sampled_from([0, 1, 2, 255])
MAPS = hnp.arrays(np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=VALUES)


def found_in(
    classes: NDArray[np.uint8], cuts: set[int]
) -> tuple[NDArray[np.uint8], NDArray[np.object_]]:
    """Values and polygons of a map that comes in strips."""
    height = classes.shape[0]
    edges = sorted({0, height, *(cut for cut in cuts if cut < height)})
    batches = list(polygons_of(classes[start:stop] for start, stop in pairwise(edges)))
    return (
        np.concatenate([batch.values for batch in batches]),
        np.concatenate([batch.geometries for batch in batches]),
    )


@given(MAPS, st.sets(st.integers(1, 13)))
def test_polygons_are_those_of_the_whole_wherever_it_is_cut(
    classes: NDArray[np.uint8], cuts: set[int]
) -> None:
    values, geometries = found_in(classes, cuts)
    expected = [
        (int(value), shapely.geometry.shape(shape))
        for shape, value in shapes(classes, mask=classes != 255, connectivity=4)
    ]
    assert texts(list(zip(values.tolist(), geometries, strict=True))) == texts(expected)


def texts(polygons: list[tuple[int, object]]) -> list[tuple[int, str]]:
    return sorted((value, shapely.to_wkt(shapely.normalize(shape))) for value, shape in polygons)


@given(MAPS, st.sets(st.integers(1, 13)))
def test_polygons_are_valid_and_cover_what_is_mapped_once(
    classes: NDArray[np.uint8], cuts: set[int]
) -> None:
    values, geometries = found_in(classes, cuts)
    assert shapely.is_valid(geometries).all()
    assert set(shapely.get_type_id(geometries)) <= {shapely.GeometryType.POLYGON}
    assert shapely.area(geometries).sum() == (classes != 255).sum()
    if len(values):
        drawn = rasterize(zip(geometries, values.tolist(), strict=True), classes.shape, fill=255)
        np.testing.assert_array_equal(drawn, classes)


def test_what_crosses_many_borders_is_one_polygon() -> None:
    """A comb whose teeth meet in the last row only, and a frame that closes there."""
    comb = np.zeros((40, 41), dtype=np.uint8)
    comb[:-1, ::2] = 1
    values, _ = found_in(comb, set(range(1, 40)))
    assert sorted(values.tolist()) == [0, *[1] * 21]
    frame = np.ones((30, 30), dtype=np.uint8)
    frame[1:-1, 1:-1] = 2
    values, geometries = found_in(frame, set(range(1, 30)))
    assert sorted(values.tolist()) == [1, 2]
    assert shapely.get_num_interior_rings(geometries[values == 1]).tolist() == [1]
    # Four corners and the first again: none where a straight side crosses a border.
    assert shapely.get_num_coordinates(geometries[values == 2]).tolist() == [5]


def test_a_map_without_data_has_no_polygons() -> None:
    values, geometries = found_in(np.full((5, 6), 255, dtype=np.uint8), {2})
    assert (len(values), len(geometries)) == (0, 0)
