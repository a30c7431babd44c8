import os
import time
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from runtime.engines.evict import LITTER_S, Item, evict, find_items, sweep

ITEMS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 10), st.booleans()), max_size=12)
"""Size, time of use, and whether it must stay."""


@given(ITEMS, st.integers(0, 200))
def test_what_was_used_longest_ago_goes_until_the_rest_fits(
    drawn: list[tuple[int, int, bool]], limit: int
) -> None:
    drawn = sorted(drawn, key=lambda item: item[1])
    items = [Item(str(i), [], size, float(used)) for i, (size, used, _) in enumerate(drawn)]
    keep = {str(i) for i, (_, _, stays) in enumerate(drawn) if stays}
    gone = evict(items, limit=limit, keep=keep)
    left = [item for item in items if item not in gone]
    free = [item for item in left if item.name not in keep]
    assert not {item.name for item in gone} & keep
    assert sum(item.size for item in left) <= limit or not free
    if gone:
        # No more than needed, and in the order of use.
        assert sum(item.size for item in left) + gone[-1].size > limit
        assert all(one.used <= other.used for one in gone for other in free)


def test_files_of_one_key_are_one_item(tmp_path: Path) -> None:
    engines, runtime, timing = (tmp_path / name for name in ("engines", "runtime", "timing"))
    one, other = "a" * 64, "b" * 64
    sizes = {
        engines / f"{one}.json": 1,
        engines / f"{one}-0123456789ab.engine": 10,
        engines / f"{one}-ba9876543210.engine": 100,  # replaced
        runtime / f"{one}.cache": 1000,
        engines / f"{other}-0123456789ab.engine": 20,  # its record was never written
        timing / "tensorrt-10.3.0-sm_87-Orin.cache": 5,
        engines / "notes.txt": 7,
        engines / f".{one}.part": 7,
        engines / f"{'A' * 64}.json": 7,
        timing / "notes.txt": 7,
    }
    for number, (path, size) in enumerate(sizes.items()):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x" * size)
        os.utime(path, (number, number))
    found = find_items((engines, runtime), timing)
    assert [(item.name, item.size, item.used) for item in found] == [
        (one, 1111, 3.0),
        (other, 20, 4.0),
        ("tensorrt-10.3.0-sm_87-Orin.cache", 5, 5.0),
    ]
    assert found[0].remove() == []
    assert {path for path in sizes if path.exists()} == set(sizes) - set(found[0].paths)


def test_a_record_goes_before_its_engine(tmp_path: Path) -> None:
    class Watched(type(tmp_path)):  # type: ignore[misc]
        def unlink(self, missing_ok: bool = False) -> None:
            gone.append(self.suffix)

    gone: list[str] = []
    key = "a" * 64
    Item(key, [Watched(tmp_path / f"{key}-0.engine"), Watched(tmp_path / f"{key}.json")]).remove()
    assert gone == [".json", ".engine"]


def test_what_cannot_be_removed_counts_as_there(tmp_path: Path) -> None:
    stuck = tmp_path / "folder"
    stuck.mkdir()
    items = [Item("stuck", [stuck], 10, 1.0), Item("free", [], 10, 2.0), Item("new", [], 10, 3.0)]
    assert [item.name for item in evict(items, limit=20, keep=())] == ["free"]


def test_a_folder_that_is_a_link_is_not_looked_into(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / f"{'a' * 64}.json").write_bytes(b"x")
    (tmp_path / "link").symlink_to(real)
    assert find_items((tmp_path / "link",), tmp_path / "none") == []
    assert len(find_items((real,), tmp_path / "none")) == 1


def test_only_what_was_left_long_ago_is_swept(tmp_path: Path) -> None:
    names = [".old.part", ".new.part", "old.part", ".old"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
        age = 0 if "new" in name else LITTER_S + 60
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    sweep((tmp_path, tmp_path / "none"))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(set(names) - {".old.part"})
