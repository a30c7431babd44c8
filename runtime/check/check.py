"""Look through a whole data set: every header, every label, every series."""

import math
from collections.abc import Callable, Collection, Iterator

import numpy as np

from ..dataset import Dataset
from ..datasets.scene_dataset import SPLIT
from ..errors import DataError
from ..metrics import IGNORE_INDEX
from ..raster import RasterInfo
from ..satellite_cells import PixelSource
from .dates import DateCoverage, cover_dates
from .findings import DataCheck, Finding, Kind, SplitCount
from .layouts import Layout, layout_of
from .traps import traps_of

NEEDED = ("train", "val")
"""Splits that training takes."""

MOST_NAMED = 5
"""Damaged files that are named one by one; the rest is counted."""


def check_dataset(
    dataset: Dataset, *, on_patch: Callable[[int, int], None] = lambda done, total: None
) -> DataCheck:
    """Look through a data set.

    Args:
        dataset: An opened data set.
        on_patch: Called with the patches whose labels were read and the patches in all.

    Raises:
        DataError: If its splits cannot be told.
    """
    layout = layout_of(dataset)
    splits = dataset.splits
    groups = dataset.groups()
    infos, damaged = _images(layout)
    counts = _LabelCounts(dataset, layout)
    for done, patch_id in enumerate(groups, start=1):
        counts.add(patch_id)
        on_patch(done, len(groups))
    learned = {groups[i] for split in NEEDED for i in splits.get(split, ()) if i in groups}
    coverage, about_series = _series(layout, learned)
    resolutions = list(_resolutions(dataset, groups))
    used = {patch_id for ids in splits.values() for patch_id in ids}
    found = tuple(
        SplitCount(
            split=split,
            patches=len(ids),
            labelled=sum(patch_id in counts.labelled for patch_id in ids),
        )
        for split, ids in splits.items()
    )
    return DataCheck(
        root=dataset.root,
        layout=layout.name,
        licence=dataset.licence,
        bands=dataset.bands,
        splits=found,
        unused=len(groups) - len(used),
        areas=len(set(groups.values())),
        resolution_m=(min(resolutions), max(resolutions)),
        crs=tuple(sorted({str(info.grid.crs) for info in infos if info.placed})),
        shares=counts.shares(),
        ignored=counts.ignored(),
        near_colors=counts.near,
        unknown_colors=counts.unknown,
        satellite=coverage,
        findings=(
            *_damaged([*damaged, *counts.damaged]),
            *_lacking_splits(found),
            *about_series,
            *_assumed(infos),
            *counts.about_colors(),
            *traps_of(dataset),
        ),
    )


def _images(layout: Layout) -> tuple[list[RasterInfo], list[str]]:
    infos, damaged = [], []
    for found in layout.images():
        if isinstance(found, DataError):
            damaged.append(str(found))
        else:
            infos.append(found)
    return infos, damaged


class _LabelCounts:
    """Pixels of each class in all labels."""

    def __init__(self, dataset: Dataset, layout: Layout) -> None:
        self._layout = layout
        self._classes = dataset.classes
        self._pixels = np.zeros(IGNORE_INDEX + 1, dtype=np.int64)
        self.labelled: set[str] = set()
        self.damaged: list[str] = []
        self.near = 0
        self.unknown = 0

    def add(self, patch_id: str) -> None:
        """Count the labels of a patch."""
        try:
            found = self._layout.labels(patch_id)
        except DataError as error:
            self.damaged.append(str(error))
            return
        if found is not None:
            self.labelled.add(patch_id)
            self._pixels += np.bincount(found.labels.ravel(), minlength=IGNORE_INDEX + 1)
            self.near += found.near
            self.unknown += found.unknown

    def shares(self) -> tuple[tuple[str, float], ...]:
        """Name of each class and its share of the pixels that are not ignored."""
        known = self._pixels[: len(self._classes)]
        shares = known / max(int(known.sum()), 1)
        return tuple(
            (item.name, float(share)) for item, share in zip(self._classes, shares, strict=True)
        )

    def ignored(self) -> float:
        """Share of the pixels that are ignored."""
        return float(self._pixels[IGNORE_INDEX]) / max(int(self._pixels.sum()), 1)

    def about_colors(self) -> Iterator[Finding]:
        """Say how many pixels are like no colour of a class."""
        if self.near or self.unknown:
            text = (
                f"{self.near} pixels of the labels took the nearest colour, {self.unknown} are "
                "like none and are ignored"
            )
            yield Finding(kind="note", text=text)


def _resolutions(dataset: Dataset, groups: dict[str, str]) -> Iterator[float]:
    """Metres per pixel of each area; a patch that cannot be read is told of elsewhere."""
    for patch_id in {area: patch_id for patch_id, area in groups.items()}.values():
        try:
            yield dataset.resolution_m(patch_id)
        except DataError:
            yield math.nan


def _lacking_splits(splits: tuple[SplitCount, ...]) -> Iterator[Finding]:
    """Say which splits training lacks, and which labels; a scene is not for training."""
    by_name = {count.split: count for count in splits}
    if SPLIT in by_name:
        return
    for name in NEEDED:
        if name not in by_name or not by_name[name].patches:
            text = f"there are no patches in the split {name}, which training takes"
            yield Finding(kind="missing", text=text)
    for count in splits:
        lacking = count.patches - count.labelled
        if lacking:
            text = f"{lacking} of {count.patches} patches of {count.split} have no labels"
            yield Finding(kind="missing" if count.split in NEEDED else "note", text=text)


def _series(layout: Layout, learned: Collection[str]) -> tuple[DateCoverage | None, list[Finding]]:
    """Count dates, and say which areas have none; it matters for those that are learned from."""
    sources: list[PixelSource] = []
    damaged: list[str] = []
    lacking: dict[str, None] = {}
    for area, found in layout.series():
        if found is None:
            lacking[area] = None
        elif isinstance(found, DataError):
            damaged.append(str(found))
        else:
            sources.append(found)
    findings = list(_damaged(damaged))
    try:
        coverage = cover_dates(sources)
    except DataError as error:
        coverage = None
        findings.append(Finding(kind="damaged", text=str(error)))
    if sources:
        findings += _lacking_series("missing", [area for area in lacking if area in learned])
        findings += _lacking_series("note", [area for area in lacking if area not in learned])
    elif lacking and not damaged:
        text = "no Sentinel-2 series: for models of the aerial image alone"
        findings.append(Finding(kind="note", text=text))
    return coverage, findings


def _lacking_series(kind: Kind, areas: list[str]) -> Iterator[Finding]:
    if areas:
        of = "train or val" if kind == "missing" else "other splits or none"
        text = f"{len(areas)} areas of {of} have no Sentinel-2 series, such as {areas[0]}"
        yield Finding(kind=kind, text=text)


def _assumed(infos: list[RasterInfo]) -> Iterator[Finding]:
    unnamed = [info for info in infos if info.placed and not info.names_crs]
    if unnamed:
        crs = unnamed[0].grid.crs
        text = f"{len(unnamed)} images name no known CRS: taken for {crs}"
        yield Finding(kind="note", text=text)


def _damaged(texts: list[str]) -> Iterator[Finding]:
    """Give the first texts, and count the rest."""
    for text in texts[:MOST_NAMED]:
        yield Finding(kind="damaged", text=text)
    if len(texts) > MOST_NAMED:
        yield Finding(kind="damaged", text=f"{len(texts) - MOST_NAMED} more like these")
