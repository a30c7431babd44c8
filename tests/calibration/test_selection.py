from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import selection
from calibration.selection import Selection, choose
from runtime.errors import CalibrationError, DataError
from runtime.satellite import SatelliteSpec

SPEC = SatelliteSpec(window=8)


def pick(dataset: Any, count: int, **options: Any) -> Selection:
    return choose(dataset, "train", **{"count": count, "seed": 1, "satellite": SPEC, **options})


@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    count=st.integers(1, 20),
    seed=st.integers(0, 9),
)
def test_as_many_patches_are_chosen_as_there_are_each_once_and_always_the_same(
    ground: Any, sizes: list[int], count: int, seed: int
) -> None:
    data = ground(areas=dict(zip("abc", sizes, strict=False)))
    first, again = pick(data, count, seed=seed), pick(data, count, seed=seed)
    assert first == again
    assert len(first.ids) == min(count, sum(sizes))
    assert set(first.ids) <= set(data.ids("train"))
    assert first.ids == tuple(sorted(set(first.ids)))
    assert sum(first.coverage.areas.values()) == len(first.ids)


@pytest.mark.parametrize("seed", range(5))
def test_every_class_and_cloudiness_of_the_pool_is_in_the_pick(ground: Any, seed: int) -> None:
    months = {"a05": 5, "b03": 6, "a01": 8}
    data = ground(
        areas={"a": 20, "b": 20}, rare=("b07",), months=lambda patch_id: months.get(patch_id, 9)
    )
    chosen = pick(data, 5, seed=seed)
    assert "b07" in chosen.ids, "nobody else holds class 11"
    assert "a05" in chosen.ids, "nobody else is cloudy"
    assert {"b03", "a01"} & set(chosen.ids), "these are mixed"
    cloudiness = chosen.coverage.cloudiness
    assert cloudiness["cloudy"] == 1
    assert cloudiness["clear"] + cloudiness["mixed"] == 4
    rare = chosen.coverage.classes["plowed land"]
    assert rare.pick > 5 * rare.pool > 0
    assert sum(share.pick for share in chosen.coverage.classes.values()) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_small_areas_are_in_the_pick_but_large_ones_give_more(ground: Any, seed: int) -> None:
    areas = pick(ground(areas={"a": 60, "b": 12, "c": 3}), 16, seed=seed).coverage.areas
    assert areas["a"] > areas["b"] > areas["c"] >= 1


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(1, 2), min_size=1, max_size=14),
    seed=st.integers(0, 9),
)
def test_every_area_is_in_the_pick_however_small_beside_the_others(
    ground: Any, sizes: list[int], seed: int
) -> None:
    data = ground(
        areas={"a": 90, **dict(zip("bcdefghijklmno", sizes, strict=False))},
        months=lambda patch_id: 3 if patch_id == "a07" else 12,
    )
    # One seat for all classes and two for clouds may be taken before.
    found = pick(data, 1 + len(sizes) + 3, seed=seed).coverage
    assert set(found.areas) == set(data.areas)


@pytest.mark.parametrize("seed", range(5))
def test_where_seats_are_few_the_rarest_areas_have_theirs(ground: Any, seed: int) -> None:
    data = ground(areas={"a": 6, "b": 4, "c": 1, "d": 2, "e": 3})
    found = pick(data, 4, seed=seed, satellite=None).coverage
    assert set("cde") <= set(found.areas), "one seat was for all classes"


@pytest.mark.parametrize("seed", range(5))
def test_areas_do_not_take_the_seats_of_classes_and_clouds(ground: Any, seed: int) -> None:
    data = ground(
        areas={"a": 20} | dict.fromkeys("bcdefgh", 1),
        rare=("a07", "a11"),
        months=lambda patch_id: {"a03": 2, "a05": 7, "a09": 2, "a10": 7}.get(patch_id, 12),
    )
    found = pick(data, 6, seed=seed).coverage
    assert found.classes["plowed land"].pick > 0
    assert min(found.cloudiness.values()) > 0
    assert len(found.areas) >= 3


def test_the_seed_decides(ground: Any) -> None:
    data = ground(areas={"a": 90})
    assert len({pick(data, 8, seed=seed).ids for seed in range(5)}) > 1


def test_without_labels_areas_and_cloudiness_decide(ground: Any) -> None:
    data = ground(labelled=False, months=lambda patch_id: 3 if patch_id == "a03" else 12)
    chosen = pick(data, 4)
    assert "a03" in chosen.ids
    assert chosen.coverage.classes == {}
    assert set(chosen.coverage.areas) == {"a", "b", "c"}


def test_a_model_of_one_input_asks_for_no_series(ground: Any) -> None:
    chosen = pick(ground(), 4, satellite=None)
    assert chosen.coverage.cloudiness == {}
    assert len(chosen.ids) == 4


def test_of_a_big_pool_only_some_are_read_each_area_in_proportion(
    ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "SURVEYED", 3)
    data = ground(areas={"a": 80, "b": 15, "c": 5})
    chosen = pick(data, 7)
    assert (chosen.coverage.pool, chosen.coverage.surveyed) == (100, 21)
    assert len(set(data.reads)) == len(data.reads) == 21
    drawn = [sum(patch_id[0] == area for patch_id in data.reads) for area in "abc"]
    assert drawn == [17, 3, 1], "of 16.8, 3.15 and 1.05"


def test_only_areas_asked_for_are_read(ground: Any) -> None:
    data = ground()
    chosen = pick(data, 5, areas=("b", "c"))
    assert {patch_id[0] for patch_id in data.reads} == {"b", "c"}
    assert (chosen.areas, chosen.coverage.pool) == (("b", "c"), 8)


def test_an_area_that_is_not_there_is_refused_and_those_that_are_listed(ground: Any) -> None:
    message = r"no area x in split 'train'; it has a \(12\), b \(6\), c \(2\); choose some of them"
    with pytest.raises(CalibrationError, match=message):
        pick(ground(), 3, areas=["b", "x"])
    with pytest.raises(CalibrationError, match="no area of no name"):
        pick(ground(), 3, areas=[])


@pytest.mark.parametrize("split", ["val", "test"])
def test_splits_that_are_measured_are_refused_unless_forced(ground: Any, split: str) -> None:
    data = ground()
    with pytest.raises(CalibrationError, match=f"split '{split}' of ground is kept for measuring"):
        choose(data, split, count=3, seed=1, satellite=SPEC)
    assert data.reads == []
    assert len(choose(data, split, count=3, seed=1, satellite=SPEC, force=True).ids) == 3


def test_patches_that_the_gate_measures_are_refused_unless_forced(ground: Any) -> None:
    measured = ["a01", "b02", "elsewhere"]
    message = r"2 of 20 patches of split 'train' of ground \(first: a01\) .* expected none; calibr"
    with pytest.raises(CalibrationError, match=message):
        pick(ground(), 3, evaluated=measured)
    assert len(pick(ground(), 3, evaluated=measured, areas=["c"]).ids) == 2
    assert len(pick(ground(), 3, evaluated=measured, force=True).ids) == 3


def test_an_unknown_split_is_the_data_sets_own_error(ground: Any) -> None:
    with pytest.raises(DataError, match="has no split 'scene'"):
        choose(ground(), "scene", count=3, seed=1, satellite=SPEC)


def test_no_patch_at_all_is_a_wrong_call(ground: Any) -> None:
    with pytest.raises(ValueError, match="0 patches to choose"):
        pick(ground(), 0)
