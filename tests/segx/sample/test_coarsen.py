import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from segx.sample.coarsen import coarsen_image, coarsen_labels

FIVES = st.integers(1, 4).map(lambda count: 5 * count)


@given(FIVES, FIVES, st.integers(0, 2**32 - 1))
def test_a_pixel_is_the_mean_over_its_ground(rows: int, cols: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (2, rows, cols), dtype=np.uint8)
    quarters = image.astype(np.float64).repeat(4, axis=1).repeat(4, axis=2)
    shape = (2, rows // 5 * 4, 5, cols // 5 * 4, 5)
    means = quarters.reshape(shape).mean(axis=(2, 4))
    found = coarsen_image(image)
    assert found.dtype == np.uint8
    assert np.abs(found - means).max() <= 0.5 + 1e-4


@given(FIVES, FIVES, st.integers(0, 2**32 - 1))
def test_a_label_is_that_below_the_middle_of_its_pixel(rows: int, cols: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, (rows, cols), dtype=np.uint8)
    row = np.floor((np.arange(rows // 5 * 4) + 0.5) * 1.25).astype(int)
    col = np.floor((np.arange(cols // 5 * 4) + 0.5) * 1.25).astype(int)
    np.testing.assert_array_equal(coarsen_labels(labels), labels[row][:, col])
