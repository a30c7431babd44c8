"""Choose the patches that a verdict is measured on: patches that nothing was chosen on.

A search for a precision plan, or its repair, looks at validation patches. Where the data has no
test split, a third of the validation patches is kept from it. Neighbours look alike, so that the
third is one block at the end of each area, where it borders on the fewest others:

    +---+---+---+---+---+---+
    |   |   |   |   | g | g |
    +---+---+---+---+---+---+      g: for the gate, furthest along the area's longer axis
    |   |   |   |   | g | g |
    +---+---+---+---+---+---+
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from runtime.dataset import Dataset
from runtime.errors import DataError
from trainkit.tune import quotas

TRAIN, VAL, TEST = "train", "val", "test"
GATE_SHARE = 1 / 3
LEAST = 3
"""Validation patches at least, so that one is left for the gate and more for the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSplit:
    """Patches for the verdict, and those that a search may look at."""

    name: str
    """What reports call the patches of the gate."""
    ids: tuple[str, ...]
    """For the verdict, in order of name."""
    search_ids: tuple[str, ...]
    """For everything that is chosen; none of `ids`. Empty where the verdict takes all of them."""


def gate_split(
    dataset: Dataset, named: str | None = None, areas: Sequence[str] | None = None
) -> GateSplit:
    """Choose the patches of the gate.

    Args:
        dataset: Patches with labels.
        named: Split to measure on. Without it `test`, where there is one in the areas, else a
            third of `val`.
        areas: Take patches of these areas only, for the search too; all areas if None.

    Raises:
        DataError: If there is no such split or area, or too few patches.
    """
    if named == TRAIN:
        raise DataError(
            f"the verdict was to be measured on '{TRAIN}' of {dataset.root}; expected patches that "
            "the model was not trained on; name another --gate-split"
        )
    groups = dataset.groups()
    _check_areas(dataset, groups.values(), areas)

    def within(split: str) -> tuple[str, ...]:
        ids = dataset.splits.get(split, ())
        return tuple(sorted(i for i in ids if areas is None or groups[i] in areas))

    val = within(VAL)
    name = named or (TEST if within(TEST) else None)
    if name is not None:
        # A split that is not there is refused by name.
        dataset.ids(name)
        ids = within(name)
        if not ids:
            raise DataError(
                f"{dataset.root} has no patch of '{name}' in {', '.join(areas or ())}; expected "
                "at least 1 to measure on; name other areas or another split"
            )
        return GateSplit(name=name, ids=ids, search_ids=() if name == VAL else val)
    if len(val) < LEAST:
        where = f" in {', '.join(areas)}" if areas else ""
        raise DataError(
            f"{dataset.root} has no test split and {len(val)} patch(es) of '{VAL}'{where}; "
            f"expected at least {LEAST}, a third of which the verdict is measured on; add patches "
            "or name a labelled split"
        )
    kept = _ends(dataset, val, groups)
    return GateSplit(
        name=f"{VAL} (spatial third)",
        ids=tuple(i for i in val if i in kept),
        search_ids=tuple(i for i in val if i not in kept),
    )


def _check_areas(dataset: Dataset, known: Collection[str], areas: Sequence[str] | None) -> None:
    missing = [area for area in areas or () if area not in known]
    if missing or (areas is not None and not areas):
        raise DataError(
            f"{dataset.root} has no area {', '.join(missing) or 'without a name'}; expected some "
            f"of {', '.join(sorted(set(known)))}; name one of them"
        )


def _ends(dataset: Dataset, ids: Sequence[str], groups: dict[str, str]) -> set[str]:
    """Take a third of all patches, from each area a block at the end of its longer axis."""
    areas: dict[str, list[str]] = {}
    for patch_id in ids:
        areas.setdefault(groups[patch_id], []).append(patch_id)
    # Drawn with one seed for good: it settles equal remainders only.
    counts = quotas([len(m) for m in areas.values()], GATE_SHARE, np.random.default_rng(0))
    kept: set[str] = set()
    for members, count in zip(areas.values(), counts, strict=True):
        places = np.array([dataset.position(patch_id) for patch_id in members])
        longer = int(np.ptp(places[:, 1]) > np.ptp(places[:, 0]))
        order = np.lexsort((places[:, 1 - longer], places[:, longer]))
        kept.update(members[index] for index in order[len(order) - count :])
    return kept
