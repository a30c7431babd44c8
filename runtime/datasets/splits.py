"""Which patch belongs to which split.

A `splits.json` beside the data decides, and alone; it lists patches, or areas of which all patches
are meant. Without one the official FLAIR #2 domains do,
and patches in a test folder are `test`; where that leaves training or validation empty, whole areas
are drawn with a seed.

Reference: FLAIR #2 data card; the FLAIR-1 list names D070 where the card names D077.
"""

import random
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..jsonfile import read_json

LISTED = "splits.json"

Split = str
"""Name of a split: train, val, test, or another one that `splits.json` names."""

VAL_DOMAINS = frozenset({"D004", "D014", "D029", "D031", "D058", "D066", "D067", "D077"})
TEST_DOMAINS = frozenset(
    {"D015", "D022", "D026", "D036", "D061", "D064", "D068", "D069", "D071", "D084"}
)
AREA_VAL_SHARE = 0.2
AREA_SEED = 2022
DRAWN_SHARE = 0.15
"""Share of the areas that `draw_areas` takes for validation, and for test."""


class Placed(Protocol):
    """A patch that knows where it comes from."""

    @property
    def id(self) -> str: ...  # noqa: D102

    @property
    def area(self) -> str: ...  # noqa: D102

    @property
    def domain(self) -> str: ...  # noqa: D102

    @property
    def is_test(self) -> bool: ...  # noqa: D102


def assign(root: Path, patches: Sequence[Placed]) -> dict[Split, tuple[str, ...]]:
    """Assign every patch to a split.

    Raises:
        DataError: If `splits.json` is damaged, names an unknown patch or one patch twice, or if
            there is only one area to draw training and validation from.
    """
    listed = listed_splits(root, {patch.id: patch.area for patch in patches})
    if listed is not None:
        return listed
    by_domain = _group(patches, _official_split)
    if by_domain.get("train") and by_domain.get("val"):
        return by_domain
    if all(patch.is_test for patch in patches):
        return by_domain
    return _by_area(root, patches)


def listed_splits(root: Path, areas: Mapping[str, str]) -> dict[Split, tuple[str, ...]] | None:
    """Read `splits.json`, if there is one.

    Args:
        root: Folder of the data set.
        areas: Area of every patch by id.

    Returns:
        Ids by split, in order of name.

    Raises:
        DataError: If the file is damaged, names an unknown patch or area, or one patch twice.
    """
    path = root / LISTED
    return _from_file(path, areas) if path.is_file() else None


def draw_areas(areas: Collection[str], *, seed: int = AREA_SEED) -> dict[Split, tuple[str, ...]]:
    """Draw whole areas for validation and test, about `DRAWN_SHARE` each; the rest is for training.

    Args:
        areas: Names; their order changes nothing.
        seed: The same seed and names give the same splits.

    Raises:
        DataError: If there are fewer than three.
    """
    if len(areas) < 3:
        raise DataError(
            f"there are {len(areas)} areas to share out; expected 3 or more, one each for train, "
            f"val and test; write a {LISTED} with lists of patch ids"
        )
    count = max(1, round(DRAWN_SHARE * len(areas)))
    order = sorted(areas)
    random.Random(seed).shuffle(order)
    drawn = {"train": order[2 * count :], "val": order[:count], "test": order[count : 2 * count]}
    return {split: tuple(sorted(names)) for split, names in drawn.items()}


class SplitPatches:
    """What data sets of every layout have in common: patches in splits."""

    root: Path
    """Folder of the data set."""

    @property
    def splits(self) -> dict[Split, tuple[str, ...]]:
        """Ids by split."""
        raise NotImplementedError

    def ids(self, split: Split) -> tuple[str, ...]:
        """Ids of a split's patches, as the splits list them.

        Raises:
            DataError: If there is no such split, or it is empty.
        """
        found = self.splits.get(split, ())
        if not found:
            known = ", ".join(f"{name} ({len(ids)})" for name, ids in self.splits.items() if ids)
            raise DataError(
                f"{self.root} has no split '{split}'; it has {known}; choose one of them"
            )
        return found


def _from_file(path: Path, areas: Mapping[str, str]) -> dict[Split, tuple[str, ...]]:
    listed = read_json(path, expected="split name to list of patch ids; restore the file")
    if not isinstance(listed, dict) or not all(isinstance(ids, list) for ids in listed.values()):
        raise DataError(f"{path} holds no table of lists; expected split name to list of patch ids")
    members: dict[str, list[str]] = {}
    for patch_id, area in areas.items():
        members.setdefault(area, []).append(patch_id)
    seen: dict[str, str] = {}
    splits = {}
    for split, ids in listed.items():
        named = [str(name).removesuffix(".tif") for name in ids]
        for name in named:
            if name not in areas and name not in members:
                raise DataError(
                    f"{path} lists {name[:80]!r} in '{split}', which is not there; expected "
                    "patches or areas of this data set; remove it"
                )
        patches = [patch for name in named for patch in _meant(name, areas, members)]
        for name in patches:
            if name in seen:
                raise DataError(
                    f"{path} lists {name} in '{seen[name]}' and in '{split}'; expected one split"
                )
            seen[name] = split
        splits[str(split)] = tuple(sorted(patches))
    return splits


def _meant(
    name: str, areas: Mapping[str, str], members: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    """Patches that a name in the file means: itself, or all of an area."""
    return (name,) if name in areas else members[name]


def _official_split(patch: Placed) -> Split:
    domain = patch.domain.split("_")[0]
    if patch.is_test or domain in TEST_DOMAINS:
        return "test"
    return "val" if domain in VAL_DOMAINS else "train"


def _group(
    patches: Sequence[Placed], split_of: Callable[[Placed], Split]
) -> dict[Split, tuple[str, ...]]:
    groups: dict[Split, list[str]] = {}
    for patch in patches:
        groups.setdefault(split_of(patch), []).append(patch.id)
    return {split: tuple(sorted(ids)) for split, ids in groups.items()}


def _by_area(root: Path, patches: Sequence[Placed]) -> dict[Split, tuple[str, ...]]:
    # The official test domains stay out of training, unless there is next to nothing else.
    areas = {patch.area for patch in patches if _official_split(patch) != "test"}
    if len(areas) < 2:
        areas = {patch.area for patch in patches if not patch.is_test}
    if len(areas) < 2:
        raise DataError(
            f"{root} holds {len(areas)} area(s) to draw a split from; expected at least 2, "
            "official domains or a splits.json with lists of patch ids; write a splits.json"
        )
    count = max(1, round(AREA_VAL_SHARE * len(areas)))
    val = set(random.Random(AREA_SEED).sample(sorted(areas), count))

    def split_of(patch: Placed) -> Split:
        if patch.is_test or patch.area not in areas:
            return "test"
        return "val" if patch.area in val else "train"

    return _group(patches, split_of)


def share_out(sizes: NDArray[np.int64], total: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Share out patches in proportion to sizes of areas, largest remainder first.

    Args:
        sizes: Patches by area, shape (areas,).
        total: Patches to share out, no more than there are.
        rng: Settles equal remainders, so that the order of the names does not.

    Returns:
        Patches by area, shape (areas,).
    """
    exact = sizes * total / sizes.sum()
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.lexsort((rng.random(len(sizes)), counts - exact))
    counts[order[: total - int(counts.sum())]] += 1
    return counts
