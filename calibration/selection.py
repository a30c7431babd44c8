"""Choose the patches that INT8 ranges are measured on.

    patches of the split, of the areas asked for
      -> candidates  all, or of a big pool 8 x count, drawn with the seed, each area in proportion
                     and with one at least
      -> survey      each is read once: its share of every class, the months that Sentinel-2 sees
      -> pick        one patch for every class and cloudiness, rarest first; one for every area
                     that has none yet, rarest first; then, again and again, the one that adds most
                     of what the pick has too little of

Rare things are in the pick more often than in the pool, by the square root of their share: ranges
must hold for them as well.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runtime.dataset import Dataset
from runtime.datasets.splits import Split
from runtime.errors import CalibrationError
from runtime.sample import Sample
from runtime.satellite import SatelliteInput, SatelliteSpec

from .candidates import draw

MEASURED_SPLITS = ("val", "test")
"""Splits that scores are reported on."""

SURVEYED = 8
"""No more than this many candidates are read for every patch wanted."""

COMPARED = 64
"""How many candidates, drawn at random, the next patch of the pick is chosen from."""

STRATA = ("clear", "mixed", "cloudy")
CLEAR_MONTHS = 9
"""Usable months of a year, of 12, from which a satellite input is clear."""
CLOUDY_MONTHS = 5
"""Usable months up to which it is cloudy; what lies between is mixed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassShare:
    """Share of the labelled pixels that a class takes, 0 to 1."""

    pick: float
    pool: float
    """In the patches surveyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What the pick holds of what the pool holds."""

    pool: int
    """Patches of the split in the areas asked for."""
    surveyed: int
    """Patches that were read; fewer than the pool where candidates were drawn from it."""
    classes: dict[str, ClassShare]
    """By class name; empty where there are no labels."""
    areas: dict[str, int]
    """Patches of the pick by area."""
    cloudiness: dict[str, int]
    """Patches of the pick by stratum; empty without a satellite input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The patches chosen, and how to choose them again."""

    dataset: str
    """Name of the data set's folder."""
    split: str
    areas: tuple[str, ...]
    """Areas that were asked for; empty: all."""
    seed: int
    ids: tuple[str, ...]
    """In order of name."""
    coverage: Coverage


def choose(
    dataset: Dataset,
    split: Split,
    *,
    count: int,
    seed: int,
    satellite: SatelliteSpec | None,
    areas: Sequence[str] | None = None,
    evaluated: Collection[str] = (),
    force: bool = False,
) -> Selection:
    """Choose patches that hold every class, area and cloudiness; labels may be missing.

    Where there are more areas than patches wanted, those with most candidates go without.

    Args:
        dataset: Where to choose from.
        split: Its split.
        count: Patches wanted; fewer are chosen where there are no more.
        seed: The same seed gives the same patches.
        satellite: Makes the satellite input, whose usable months count; None without that branch.
        areas: Choose from these areas only.
        evaluated: Patches that a gate measures.
        force: Let patches be chosen that something is measured on.

    Raises:
        CalibrationError: If the split or a patch of the pool is kept for measuring, or an area is
            not there.
        DataError: If there is no such split, or a patch is damaged.
    """
    if count < 1:
        raise ValueError(f"{count} patches to choose; expected at least 1")
    pool = _pool(dataset, split, areas)
    if not force:
        _refuse_measured(dataset, split, pool, evaluated)
    rng = np.random.default_rng(seed)
    groups = dataset.groups()
    ids = draw(pool, groups, SURVEYED * count, rng)
    survey = _survey(dataset, ids, satellite)
    strata = _one_hot([_stratum(months) for months in survey.months], STRATA)
    area = _one_hot([groups[i] for i in ids], sorted({groups[i] for i in ids}))
    classes = survey.counts / np.maximum(survey.counts.sum(axis=1, keepdims=True), 1)
    pick = _fill(
        np.hstack([classes, strata, area]),
        _seats([np.hstack([classes, strata]), area], count, rng),
        count,
        rng,
    )
    return Selection(
        dataset=dataset.root.name,
        split=split,
        areas=tuple(areas or ()),
        seed=seed,
        ids=tuple(ids[i] for i in pick),
        coverage=_coverage(dataset, len(pool), ids, survey, pick),
    )


def _pool(dataset: Dataset, split: Split, areas: Sequence[str] | None) -> tuple[str, ...]:
    ids, groups = dataset.ids(split), dataset.groups()
    if areas is None:
        return ids
    known = Counter(groups[patch_id] for patch_id in ids)
    missing = sorted(set(areas) - set(known))
    if missing or not areas:
        listed = ", ".join(f"{area} ({known[area]})" for area in sorted(known))
        raise CalibrationError(
            f"{dataset.root} has no area {', '.join(missing) or 'of no name'} in split '{split}'; "
            f"it has {listed}; choose some of them"
        )
    return tuple(patch_id for patch_id in ids if groups[patch_id] in areas)


def _refuse_measured(
    dataset: Dataset, split: Split, pool: Sequence[str], evaluated: Collection[str]
) -> None:
    if split in MEASURED_SPLITS:
        raise CalibrationError(
            f"split '{split}' of {dataset.root} is kept for measuring; expected patches that no "
            "score is reported on; calibrate on another split such as 'train', or force it"
        )
    measured = sorted(set(pool) & set(evaluated))
    if measured:
        raise CalibrationError(
            f"{len(measured)} of {len(pool)} patches of split '{split}' of {dataset.root} (first: "
            f"{measured[0]}) are those that the gate measures; expected none; calibrate on another "
            "split or other areas, or force it"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Survey:
    """What the candidates hold."""

    counts: NDArray[np.int64]
    """Pixels by candidate and class, shape (candidates, K)."""
    months: list[int | None]
    """Usable months by candidate; None without a satellite input."""


def _survey(dataset: Dataset, ids: Sequence[str], satellite: SatelliteSpec | None) -> _Survey:
    """Read every candidate once; only its counts are kept."""
    counts = np.zeros((len(ids), len(dataset.classes)), dtype=np.int64)
    months: list[int | None] = []
    for index, patch_id in enumerate(ids):
        sample = dataset.read(patch_id, satellite)
        counts[index] = _class_counts(sample, len(dataset.classes))
        months.append(_usable_months(sample.satellite))
    return _Survey(counts=counts, months=months)


def _class_counts(sample: Sample, classes: int) -> NDArray[np.int64]:
    if sample.labels is None:
        return np.zeros(classes, dtype=np.int64)
    return np.bincount(sample.labels.ravel(), minlength=256)[:classes].astype(np.int64)


def _usable_months(satellite: SatelliteInput | None) -> int | None:
    return None if satellite is None else int(np.count_nonzero(satellite.date_mask))


def _stratum(months: int | None) -> str | None:
    if months is None:
        return None
    if months >= CLEAR_MONTHS:
        return "clear"
    return "cloudy" if months <= CLOUDY_MONTHS else "mixed"


def _one_hot(values: Sequence[str | None], names: Sequence[str]) -> NDArray[np.float64]:
    """One column for each name, 1 where the value is that name, shape (values, names)."""
    columns = {name: column for column, name in enumerate(names)}
    table = np.zeros((len(values), len(names)))
    for row, value in enumerate(values):
        if value is not None:
            table[row, columns[value]] = 1.0
    return table


def _seats(kinds: Sequence[NDArray[np.float64]], count: int, rng: np.random.Generator) -> list[int]:
    """Take, for every feature that there is, the candidate that holds most of it.

    Args:
        kinds: Tables of features, shape (candidates, features); those of the first one come first,
            in each the rarest.
        count: Candidates at most.
        rng: Decides between candidates that hold as much.
    """
    pick: list[int] = []
    order = rng.permutation(len(kinds[0]))
    for features in kinds:
        for feature in np.argsort(features.sum(axis=0), kind="stable"):
            column = features[order, feature]
            if len(pick) < count and column.any() and not features[pick, feature].any():
                pick.append(int(order[column.argmax()]))
    return pick


def _fill(
    features: NDArray[np.float64], pick: list[int], count: int, rng: np.random.Generator
) -> list[int]:
    """Add candidates until the pick is full.

    The gain of a candidate is what it adds to the sum over features f of sqrt(w_f held_f), which is
    largest, for a given number of patches, where what is held is in proportion to w_f; w_f is the
    square root of the share in the pool.
    """
    weights = np.sqrt(np.sqrt(features.mean(axis=0)))
    held = features[pick].sum(axis=0)
    left = np.setdiff1d(np.arange(len(features)), pick)
    chosen = list(pick)
    while len(chosen) < count and len(left):
        places = rng.permutation(len(left))[:COMPARED]
        gains = (np.sqrt(held + features[left[places]]) - np.sqrt(held)) @ weights
        place = places[int(gains.argmax())]
        chosen.append(int(left[place]))
        held = held + features[left[place]]
        left = np.delete(left, place)
    return sorted(chosen)


def _coverage(
    dataset: Dataset, pool: int, ids: Sequence[str], survey: _Survey, pick: Sequence[int]
) -> Coverage:
    groups = dataset.groups()
    found, theirs = survey.counts[list(pick)].sum(axis=0), survey.counts.sum(axis=0)
    strata = Counter(_stratum(survey.months[i]) for i in pick)
    labelled = bool(theirs.any())
    return Coverage(
        pool=pool,
        surveyed=len(ids),
        classes={
            item.name: ClassShare(
                pick=float(mine / max(found.sum(), 1)), pool=float(all_ / theirs.sum())
            )
            for item, mine, all_ in zip(dataset.classes, found, theirs, strict=True)
            if labelled
        },
        areas=dict(sorted(Counter(groups[ids[i]] for i in pick).items())),
        cloudiness={name: strata[name] for name in STRATA} if set(strata) != {None} else {},
    )
