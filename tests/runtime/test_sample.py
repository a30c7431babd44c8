from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import BandError
from runtime.sample import AERIAL_BANDS, Sample, check_bands

SAMPLE = Sample(
    id="here",
    bands=AERIAL_BANDS,
    aerial=np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3),
    satellite=None,
    labels=None,
)


@given(st.permutations(AERIAL_BANDS), st.integers(1, 5), st.data())
def test_bands_are_taken_by_name_whatever_their_order(
    order: list[str], count: int, data: st.DataObject
) -> None:
    stored = SAMPLE.with_bands(tuple(order))
    wanted = tuple(data.draw(st.permutations(order))[:count])
    taken = stored.with_bands(wanted)
    assert taken.bands == wanted
    for band, pixels in zip(wanted, taken.aerial, strict=True):
        np.testing.assert_array_equal(pixels, SAMPLE.aerial[AERIAL_BANDS.index(band)])


def test_the_bands_of_the_sample_decide_not_those_of_flair() -> None:
    swapped = replace(SAMPLE, bands=("nir", "red", "green", "blue", "dsm"))
    np.testing.assert_array_equal(swapped.with_bands(("nir",)).aerial[0], SAMPLE.aerial[0])
    with pytest.raises(BandError, match=r"has the bands nir, .*, dsm; expected elevation too; use"):
        swapped.with_bands(AERIAL_BANDS)


def test_the_same_bands_are_the_same_sample() -> None:
    assert SAMPLE.with_bands(AERIAL_BANDS) is SAMPLE


def test_every_channel_needs_a_name() -> None:
    with pytest.raises(ValueError, match="here has 5 aerial channels and 2 band names"):
        replace(SAMPLE, bands=("red", "green"))


def test_all_missing_bands_are_named() -> None:
    with pytest.raises(BandError, match="x has the bands red; expected blue, nir too; use a model"):
        check_bands(("red",), ("blue", "red", "nir"), where="x")
