import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.datasets.splits import (
    AREA_VAL_SHARE,
    DRAWN_SHARE,
    TEST_DOMAINS,
    VAL_DOMAINS,
    assign,
    draw_areas,
)
from runtime.errors import DataError


@dataclass(frozen=True)
class Place:
    id: str
    area: str
    domain: str
    is_test: bool = False


def places(areas: Mapping[str, int], *, is_test: bool = False) -> list[Place]:
    """Patches in areas such as `D004_2021/Z1_NN`, with a number of patches each."""
    return [
        Place(f"IMG_{area}_{i}", area, area.split("/")[0], is_test)
        for area, count in areas.items()
        for i in range(count)
    ]


def write(folder: Path, content: object) -> Path:
    (folder / "splits.json").write_text(json.dumps(content))
    return folder


NOWHERE = Path("nowhere")
FEW = places({"D006_2020/Z1_NN": 3, "D004_2021/Z2_UU": 2})
A, B, C, D, E = (patch.id for patch in FEW)


def test_the_official_domains_are_those_of_the_data_card() -> None:
    assert len(VAL_DOMAINS) == 8
    assert len(TEST_DOMAINS) == 10
    assert "D077" in VAL_DOMAINS
    assert "D070" not in VAL_DOMAINS
    assert not VAL_DOMAINS & TEST_DOMAINS


def test_official_domains_decide_whatever_the_year() -> None:
    patches = places({"D006_2018/Z1_NN": 2, "D004_2020/Z1_NN": 1, "D015_2020/Z1_NN": 1})
    assert assign(NOWHERE, patches) == {
        "train": ("IMG_D006_2018/Z1_NN_0", "IMG_D006_2018/Z1_NN_1"),
        "val": ("IMG_D004_2020/Z1_NN_0",),
        "test": ("IMG_D015_2020/Z1_NN_0",),
    }


def test_a_test_folder_decides_over_the_domain() -> None:
    test = places({"D085_2019/Z9_NN": 2}, is_test=True)
    found = assign(NOWHERE, FEW + test)
    assert found["test"] == tuple(patch.id for patch in test)
    assert set(found["train"]) == {A, B, C}


def test_a_tree_of_test_folders_alone_is_a_test_split() -> None:
    patches = places({"D015_2020/Z1_NN": 3}, is_test=True)
    assert assign(NOWHERE, patches) == {"test": tuple(patch.id for patch in patches)}


@given(count=st.integers(2, 40), per_area=st.integers(1, 3), reverse=st.booleans())
def test_without_official_validation_whole_areas_are_drawn_alike_every_time(
    count: int, per_area: int, reverse: bool
) -> None:
    patches = places({f"D034_2021/Z{i}_NN": per_area for i in range(count)})
    found = assign(NOWHERE, patches)
    area = {patch.id: patch.area for patch in patches}
    val, train = ({area[name] for name in found[split]} for split in ("val", "train"))
    assert not val & train
    assert len(val | train) == count
    assert len(val) == max(1, round(AREA_VAL_SHARE * count))
    assert sorted(found["val"] + found["train"]) == sorted(area)
    assert assign(NOWHERE, patches[::-1] if reverse else patches) == found


def test_training_and_test_without_validation_draws_validation_from_training() -> None:
    test = places({"D085_2019/Z9_NN": 2}, is_test=True)
    official_test = places({"D015_2020/Z1_NN": 2, "D015_2020/Z2_NN": 2})
    patches = places({f"D034_2021/Z{i}_NN": 1 for i in range(5)}) + test + official_test
    found = assign(NOWHERE, patches)
    assert {split: len(ids) for split, ids in found.items()} == {"train": 4, "val": 1, "test": 6}
    assert set(found["test"]) == {patch.id for patch in test + official_test}


def test_areas_of_official_test_domains_serve_where_there_are_no_others() -> None:
    found = assign(NOWHERE, places({"D015_2020/Z1_NN": 2, "D015_2020/Z2_NN": 3}))
    assert sorted(found) == ["train", "val"]


def test_a_single_area_cannot_be_split() -> None:
    with pytest.raises(DataError, match=r"nowhere holds 1 area\(s\) .* write a splits.json"):
        assign(NOWHERE, places({"D034_2021/Z1_NN": 9}))


def test_the_file_decides_alone(tmp_path: Path) -> None:
    write(tmp_path, {"train": [E, A], "scene": [f"{D}.tif"]})
    assert assign(tmp_path, FEW) == {"train": tuple(sorted((E, A))), "scene": (D,)}


def test_a_file_may_leave_patches_and_splits_out(tmp_path: Path) -> None:
    test = places({"D085_2019/Z9_NN": 2}, is_test=True)
    write(tmp_path, {"train": [A], "val": []})
    assert assign(tmp_path, FEW + test) == {"train": (A,), "val": ()}


def test_an_area_in_the_file_means_all_of_its_patches(tmp_path: Path) -> None:
    first, second = FEW[0].area, FEW[-1].area
    write(tmp_path, {"train": [first], "val": [E]})
    assert assign(tmp_path, FEW) == {"train": (A, B, C), "val": (E,)}
    write(tmp_path, {"train": [first, second], "val": [E]})
    with pytest.raises(DataError, match=rf"lists {E} in 'train' and in 'val'; expected one split"):
        assign(tmp_path, FEW)


def test_an_unknown_id_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"val": [A, "IMG_9"]})
    with pytest.raises(DataError, match=r"splits.json lists 'IMG_9' in 'val', which is not there"):
        assign(tmp_path, FEW)


@pytest.mark.parametrize("splits", [{"train": [A], "val": [A]}, {"val": [A, A]}])
def test_a_patch_listed_twice_is_named(tmp_path: Path, splits: object) -> None:
    with pytest.raises(DataError, match=rf"lists {A} in '\w+' and in 'val'; expected one split"):
        assign(write(tmp_path, splits), FEW)


@pytest.mark.parametrize("content", [[A], {"train": A}, {"train": {A: 1}}, "train", None])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(DataError, match=r"splits.json holds no table of lists; expected split"):
        assign(write(tmp_path, content), FEW)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\udcff"])
def test_a_file_that_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "splits.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"splits.json cannot be read as JSON"):
        assign(tmp_path, FEW)


@given(st.integers(3, 60), st.integers(0, 9))
def test_areas_are_drawn_whole_and_alike_every_time(count: int, seed: int) -> None:
    areas = [f"sheet-{number}" for number in range(count)]
    found = draw_areas(areas, seed=seed)
    assert sorted(name for names in found.values() for name in names) == sorted(areas)
    expected = max(1, round(DRAWN_SHARE * count))
    assert len(found["val"]) == len(found["test"]) == expected
    assert found["train"]
    assert draw_areas(areas[::-1], seed=seed) == found


def test_another_seed_draws_others() -> None:
    areas = [f"sheet-{number}" for number in range(41)]
    assert draw_areas(areas, seed=1) != draw_areas(areas, seed=2)


def test_two_areas_are_too_few_to_draw_from() -> None:
    with pytest.raises(DataError, match=r"there are 2 areas to share out; expected 3 or more"):
        draw_areas(["a", "b"])
