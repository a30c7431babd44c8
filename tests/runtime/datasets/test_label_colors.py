import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.datasets.label_colors import TOLERANCE, decode

PALETTE = (((255, 255, 0), 0), ((0, 0, 255), 1), ((0, 12, 250), 2), ((0, 0, 0), 255))


def plain(colors: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], int, int]:
    """What decoding means, pixel by pixel."""
    labels = np.full(colors.shape[1:], 255, dtype=np.uint8)
    near = unknown = 0
    for place in np.ndindex(*colors.shape[1:]):
        pixel = colors[(slice(None), *place)].astype(int)
        far = [max(abs(pixel - np.array(color))) for color, _ in PALETTE]
        best = int(np.argmin(far))
        if far[best] <= TOLERANCE:
            labels[place] = PALETTE[best][1]
            near += far[best] > 0
        else:
            unknown += 1
    return labels, near, unknown


@given(st.integers(0, 2**32 - 1))
def test_a_colour_is_its_own_class_else_the_nearest_else_ignored(seed: int) -> None:
    rng = np.random.default_rng(seed)
    palette = np.array([color for color, _ in PALETTE])
    pixels = palette[rng.integers(0, len(palette), (5, 7))] + rng.integers(-10, 11, (5, 7, 3))
    pixels[rng.random((5, 7)) < 0.3] = palette[0]
    colors = np.clip(pixels, 0, 255).astype(np.uint8).transpose(2, 0, 1)
    labels, near, unknown = plain(colors)
    before = colors.copy()
    found = decode(colors, PALETTE)
    np.testing.assert_array_equal(found.labels, labels)
    assert (found.near, found.unknown) == (near, unknown)
    np.testing.assert_array_equal(colors, before)


def test_a_colour_between_two_close_ones_takes_the_first() -> None:
    between = np.array([0, 6, 252], dtype=np.uint8).reshape(3, 1, 1)
    assert decode(between, PALETTE).labels.item() == 1
    turned = (PALETTE[2], PALETTE[1])
    assert decode(between, turned).labels.item() == 2
