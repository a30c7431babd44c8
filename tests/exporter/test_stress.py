from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.stress import stress_feeds
from runtime.bundle import Bundle, open_bundle
from runtime.manifest import PartSpec
from segx.bundles import TOY

Feed = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def toy() -> Bundle:
    return open_bundle(TOY)


def part_of(toy: Bundle, name: str) -> PartSpec:
    return next(part for part in toy.manifest.parts if part.name == name)


def like(part: PartSpec) -> Feed:
    rng = np.random.default_rng(0)
    feed = {}
    for spec in part.inputs:
        values = rng.normal(size=spec.with_batch(1)) + 3
        feed[spec.name] = values.astype(spec.dtype)
    if "date_mask" in feed:
        feed["date_mask"][:] = 1
        feed["date_mask"][:, [0, 1, 7]] = 0
    return feed


@pytest.mark.parametrize("name", ["aerial", "satellite", "fusion"])
def test_stress_feeds_have_the_names_shapes_and_types_of_the_part(toy: Bundle, name: str) -> None:
    part = part_of(toy, name)
    sample = like(part)
    before = {key: array.copy() for key, array in sample.items()}
    for feed in stress_feeds(part, toy.card, {**sample, "other": np.zeros(3)}).values():
        for spec in part.inputs:
            assert feed[spec.name].shape == spec.with_batch(1)
            assert feed[spec.name].dtype == spec.dtype
            assert np.isfinite(feed[spec.name]).all()
        assert len(feed) == len(part.inputs)
    for key, array in sample.items():
        np.testing.assert_array_equal(array, before[key])


def test_aerial_stress_is_black_white_and_both(toy: Bundle) -> None:
    part = part_of(toy, "aerial")
    feeds = {key: feed["aerial"] for key, feed in stress_feeds(part, toy.card, like(part)).items()}
    assert (feeds["black"] == 0).all()
    assert (feeds["white"] == 255).all()
    checkered = feeds["checkered"]
    assert set(np.unique(checkered)) == {0, 255}
    assert (checkered[..., 1:, :] != checkered[..., :-1, :]).all()
    assert (checkered[..., :, 1:] != checkered[..., :, :-1]).all()


def test_satellite_stress_goes_from_all_clouds_to_no_date(toy: Bundle) -> None:
    part = part_of(toy, "satellite")
    sample = like(part)
    feeds = stress_feeds(part, toy.card, sample)
    dates = {key: feed["date_mask"].sum() for key, feed in feeds.items()}
    assert dates == {"cloud": 12, "zeros": 12, "one date": 1, "no date": 0}
    assert feeds["one date"]["date_mask"][0, 2] == 1
    np.testing.assert_allclose(feeds["cloud"]["satellite"], 2.8)
    assert not feeds["zeros"]["satellite"].any()
    assert toy.card.satellite is not None
    for feed in feeds.values():
        np.testing.assert_array_equal(feed["days"][0], toy.card.satellite.dates.month_days())


def test_fusion_stress_enlarges_the_logits_of_the_sample(toy: Bundle) -> None:
    part = part_of(toy, "fusion")
    sample = like(part)
    feeds = stress_feeds(part, toy.card, sample)
    for name, array in sample.items():
        np.testing.assert_array_equal(feeds["large logits"][name], 4 * array)
        assert not feeds["zeros"][name].any()
