from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.gate_split import gate_split
from runtime.errors import DataError


@dataclass
class Places:
    """Patches in places; reading one is no part of choosing."""

    areas: dict[str, list[tuple[float, float]]]
    other: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Splits beside `val`, which holds all patches that are in no other."""
    root: Path = Path("places")

    def __post_init__(self) -> None:
        self.where = {
            f"{area}-{i:02}": place
            for area, places in self.areas.items()
            for i, place in enumerate(places)
        }
        taken = {name for ids in self.other.values() for name in ids}
        val = tuple(sorted(set(self.where) - taken))
        self.splits = {**self.other, "val": val} if val else self.other

    def ids(self, split: str) -> tuple[str, ...]:
        if not self.splits.get(split):
            raise DataError(f"places has no split '{split}'")
        return self.splits[split]

    def groups(self) -> dict[str, str]:
        return {name: name.split("-")[0] for name in self.where}

    def position(self, patch_id: str) -> tuple[float, float]:
        return self.where[patch_id]

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"choosing patches does not need {name}")


def grid(columns: int, rows: int) -> list[tuple[float, float]]:
    return [(100.0 * x, 100.0 * y) for y in range(rows) for x in range(columns)]


places = st.lists(
    st.lists(
        st.tuples(st.integers(0, 9).map(float), st.integers(0, 9).map(float)),
        min_size=1,
        max_size=12,
        unique=True,
    ),
    min_size=1,
    max_size=5,
).filter(lambda areas: sum(map(len, areas)) >= 3)


@given(places)
def test_a_third_is_kept_from_the_search_and_both_are_all_of_val(
    areas: list[list[tuple[float, float]]],
) -> None:
    dataset = Places({f"a{i}": area for i, area in enumerate(areas)})
    found = gate_split(dataset)
    assert found == gate_split(dataset)
    assert found.name == "val (spatial third)"
    assert not set(found.ids) & set(found.search_ids)
    assert tuple(sorted(found.ids + found.search_ids)) == dataset.ids("val")
    assert len(found.ids) == round(len(dataset.ids("val")) / 3)
    for area, members in dataset.areas.items():
        kept = sum(name.startswith(f"{area}-") for name in found.ids)
        assert abs(kept - len(members) / 3) < 1 + 1 / 3


@given(places)
def test_in_each_area_a_line_across_its_longer_axis_parts_gate_and_search(
    areas: list[list[tuple[float, float]]],
) -> None:
    dataset = Places({f"a{i}": area for i, area in enumerate(areas)})
    found = gate_split(dataset)
    for area, members in dataset.areas.items():
        spans = np.ptp(np.array(members), axis=0)
        axis = int(spans[1] > spans[0])
        kept, rest = (
            [dataset.position(name)[axis] for name in ids if name.startswith(f"{area}-")]
            for ids in (found.ids, found.search_ids)
        )
        if kept and rest:
            assert min(kept) >= max(rest)


def test_the_block_lies_at_the_end_of_the_longer_side() -> None:
    found = gate_split(Places({"wide": grid(6, 2)}))
    assert found.ids == ("wide-04", "wide-05", "wide-10", "wide-11")


def test_a_test_split_is_taken_and_leaves_all_of_val_to_the_search() -> None:
    dataset = Places({"a": grid(4, 1)}, other={"test": ("a-01",)})
    found = gate_split(dataset)
    assert (found.name, found.ids) == ("test", ("a-01",))
    assert found.search_ids == ("a-00", "a-02", "a-03")


def test_a_split_that_is_named_comes_before_the_test_split() -> None:
    dataset = Places({"a": grid(5, 1)}, other={"test": ("a-01",), "scene": ("a-04",)})
    found = gate_split(dataset, "scene")
    assert (found.name, found.ids, len(found.search_ids)) == ("scene", ("a-04",), 3)


def test_naming_val_leaves_nothing_to_the_search() -> None:
    found = gate_split(Places({"a": grid(4, 1)}), "val")
    assert (len(found.ids), found.search_ids) == (4, ())


def test_areas_bound_both_gate_and_search() -> None:
    dataset = Places({"a": grid(6, 1), "b": grid(9, 1)}, other={"test": ("b-08",)})
    assert gate_split(dataset).ids == ("b-08",)
    found = gate_split(dataset, areas=["a"])
    assert found.name == "val (spatial third)", "the test split has no patch there"
    assert found.ids == ("a-04", "a-05")
    assert found.search_ids == ("a-00", "a-01", "a-02", "a-03")


def test_an_area_that_is_not_there_is_named_with_those_that_are() -> None:
    dataset = Places({"a": grid(6, 1), "b": grid(9, 1)})
    with pytest.raises(DataError, match="places has no area c; expected some of a, b; name one"):
        gate_split(dataset, areas=["a", "c"])
    with pytest.raises(DataError, match="expected some of a, b"):
        gate_split(dataset, areas=[])


def test_two_validation_patches_are_too_few_to_part() -> None:
    dataset = Places({"a": grid(2, 1)})
    with pytest.raises(DataError, match=r"no test split and 2 patch\(es\) of 'val'; expected at l"):
        gate_split(dataset)


def test_a_named_split_needs_a_patch_in_the_areas() -> None:
    dataset = Places({"a": grid(3, 1), "b": grid(3, 1)}, other={"scene": ("b-00",)})
    with pytest.raises(DataError, match="no patch of 'scene' in a; expected at least 1"):
        gate_split(dataset, "scene", ["a"])
    with pytest.raises(DataError, match="no split 'elsewhere'"):
        gate_split(dataset, "elsewhere")
