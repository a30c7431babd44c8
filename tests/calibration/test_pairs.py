import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.pairs import Pairs, check_pairs
from runtime.card import ModelCard
from runtime.errors import CalibrationError
from runtime.satellite import SatelliteSpec


def shuffled(ids: list[str], seed: int = 1) -> dict[str, str]:
    """Another patch of the same list for every patch."""
    order = np.random.default_rng(seed).permutation(ids)
    return dict(zip(order.tolist(), np.roll(order, 1).tolist(), strict=True))


# Streaming.


def test_pairs_are_read_one_at_a_time_in_order_and_again(ground: Any, card: ModelCard) -> None:
    data = ground()
    pairs = Pairs(data, ["b01", "a00"], card)
    assert len(pairs) == 2
    assert data.reads == []
    first = iter(pairs)
    patch_id, feed = next(first)
    assert (patch_id, data.reads) == ("b01", ["b01"])
    assert {name: array.shape for name, array in feed.items()} == {
        "aerial": (1, 5, 40, 40),
        "satellite": (1, 12, 4, 8, 8),
        "date_mask": (1, 12),
        "days": (1, 12),
    }
    for _ in range(2):
        assert [name for name, _ in pairs] == ["b01", "a00"]


def test_bands_are_those_of_the_model(ground: Any, card: ModelCard) -> None:
    normalization = replace(card.aerial.normalization, mean=(0.0,) * 2, std=(1.0,) * 2)
    spec = replace(card.aerial, bands=("blue", "nir"), normalization=normalization)
    ((_, feed),) = Pairs(ground(), ["a00"], replace(card, aerial=spec))
    tile = ground().read("a00", None).aerial
    np.testing.assert_array_equal(feed["aerial"][0], tile[[4, 1]])


def test_a_model_of_one_input_gets_one(ground: Any, card: ModelCard) -> None:
    ((_, feed),) = Pairs(ground(alone=("a00",)), ["a00"], replace(card, satellite=None))
    assert set(feed) == {"aerial"}


def test_a_patch_without_satellite_input_is_refused(ground: Any, card: ModelCard) -> None:
    pairs = Pairs(ground(alone=("a01",)), ["a00", "a01"], card)
    message = "ground has no satellite input for a01; expected one, since model takes two inputs;"
    with pytest.raises(CalibrationError, match=message):
        list(pairs)


def test_a_patch_of_another_size_is_refused(ground: Any, card: ModelCard) -> None:
    other = replace(card, aerial=replace(card.aerial, tile_size=32))
    with pytest.raises(CalibrationError, match="a00 of ground is 40 x 40 px; expected 32 x 32 px"):
        list(Pairs(ground(), ["a00"], other))


# Pairs and shuffled pairs.


@pytest.mark.parametrize("seed", range(3))
def test_pairs_are_told_from_shuffled_ones(ground: Any, card: ModelCard, seed: int) -> None:
    data = ground()
    ids = list(data.groups())
    found = check_pairs(data, ids, card)
    assert (found.samples, found.not_checked) == (20, "")
    assert found.fit is not None
    assert found.fit.p_value <= 0.001
    assert found.fit.correlation > 0.5 > found.fit.shuffled
    message = (
        r"inputs of ground look shuffled: vegetation and brightness of 20 pairs correlate by "
        r"-?0\.\d\d, those of permuted pairs by up to 0\.\d\d \(p = \d\.\d+\); expected p up to "
        r"0\.05; check the centroids file"
    )
    with pytest.raises(CalibrationError, match=message):
        check_pairs(ground(shows=shuffled(ids, seed)), ids, card)


@pytest.mark.parametrize("seed", range(3))
def test_pairs_of_rgb_images_are_told_from_shuffled_ones_by_their_brightness(
    ground: Any, card: ModelCard, seed: int
) -> None:
    rgb = ("red", "green", "blue")
    normalization = replace(card.aerial.normalization, mean=(0.0,) * 3, std=(1.0,) * 3)
    camera = replace(card, aerial=replace(card.aerial, bands=rgb, normalization=normalization))
    ids = list(ground().groups())
    found = check_pairs(ground(), ids, camera)
    assert found.not_checked == ""
    assert found.fit is not None
    assert found.fit.p_value <= 0.001
    message = r"inputs of ground look shuffled: brightness of 20 pairs correlate by"
    with pytest.raises(CalibrationError, match=message):
        check_pairs(ground(shows=shuffled(ids, seed)), ids, camera)


def test_pairs_shuffled_within_their_areas_are_refused(ground: Any, card: ModelCard) -> None:
    shows: dict[str, str] = {}
    ids = list(ground().groups())
    for area in "abc":
        shows.update(shuffled([patch_id for patch_id in ids if patch_id[0] == area]))
    with pytest.raises(CalibrationError, match="inputs of ground look shuffled"):
        check_pairs(ground(shows=shows), ids, card)


def test_one_shuffled_area_is_named(ground: Any, card: ModelCard) -> None:
    data = ground(areas={"a": 16, "b": 12, "c": 12})
    ids = list(data.groups())
    assert check_pairs(data, ids, card).fit is not None
    shows = shuffled([patch_id for patch_id in ids if patch_id[0] == "b"])
    message = r"inputs of area b in ground look shuffled: 12 pairs correlate .* leave the area out"
    with pytest.raises(CalibrationError, match=message):
        check_pairs(replace(data, shows=shows), ids, card)


def test_few_pairs_are_not_judged_and_it_says_so(ground: Any, card: ModelCard) -> None:
    ids = [f"a{i:02d}" for i in range(7)]
    found = check_pairs(ground(shows=shuffled(ids)), ids, card)
    assert found.fit is None
    assert found.not_checked == "7 samples are too few; 8 tell pairs from chance"


def test_models_without_the_bands_are_not_judged_and_it_says_so(
    ground: Any, card: ModelCard
) -> None:
    ids = list(ground().groups())
    alone = check_pairs(ground(), ids, replace(card, satellite=None))
    assert (alone.fit, alone.not_checked) == (None, "the model has no satellite branch")
    assert card.satellite is not None
    blind = replace(card, satellite=SatelliteSpec(bands=("B08",), window=8))
    assert check_pairs(ground(), ids, blind).not_checked.startswith("no visible band is among both")


# Blank inputs.


@pytest.mark.parametrize("kind", ["dark", "plain"])
def test_blank_aerial_tiles_are_refused(ground: Any, card: ModelCard, kind: str) -> None:
    ids = tuple(ground().groups())
    message = (
        r"ground holds 2 black or single-coloured aerial tiles and 0 empty satellite inputs among "
        r"20 calibration samples \(first: a03\); expected 5% of each at most; calibrate"
    )
    with pytest.raises(CalibrationError, match=message):
        check_pairs(ground(**{kind: ("a03", "b01")}), ids, card)
    one = check_pairs(ground(**{kind: ("a03",)}), ids, card)
    assert (one.blank_aerial, one.blank_satellite) == (1, 0)
    assert one.fit is not None
    assert one.fit.samples == 19, "a blank pair is no pair"


def test_black_tiles_with_a_real_series_are_refused(ground: Any, card: ModelCard) -> None:
    ids = tuple(ground().groups())
    for model in (card, replace(card, satellite=None)):
        with pytest.raises(CalibrationError, match="20 black or single-coloured aerial tiles"):
            check_pairs(ground(dark=ids), ids, model)


def test_empty_series_are_refused(ground: Any, card: ModelCard) -> None:
    ids = tuple(ground().groups())
    with pytest.raises(CalibrationError, match=r"and 2 empty satellite inputs .*first: b00"):
        check_pairs(ground(empty=("b00", "b04")), ids, card)
    dateless = ground(months=lambda patch_id: 12 * (patch_id[0] != "b"))
    with pytest.raises(CalibrationError, match="and 6 empty satellite inputs"):
        check_pairs(dateless, ids, card)


# Memory.


def test_memory_does_not_grow_with_the_pixels_read(ground: Any, card: ModelCard) -> None:
    data = ground(areas={"a": 60})
    ids = list(data.groups())
    check_pairs(data, ids[:8], card)
    tracemalloc.start()
    try:
        check_pairs(data, ids, card)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    read = sum(array.nbytes for _, feed in Pairs(data, ids, card) for array in feed.values())
    assert peak < read / 3
