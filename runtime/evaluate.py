"""Measure a model against labels, on patches and on a scene."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .card import ModelCard, Runnable
from .classes import LandCoverClass
from .dataset import Dataset, check_dataset_fit
from .datasets.flair import CLASSES, class_indices
from .datasets.scene_dataset import check_labels
from .datasets.splits import Split
from .errors import DataError
from .metrics import ConfusionMatrix, Scores, score
from .model import make_feed
from .output.values import tile_maps
from .raster import RasterReader
from .stream.seams import seam_mask
from .tiler import TilePlan

OnPatch = Callable[[int, int], None]
"""Called with the patches done and the patches in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Scores and the counts that they come from."""

    scores: Scores
    matrix: NDArray[np.int64]
    """Pixels by label (rows) and prediction (columns), shape (K, K)."""
    patches: int
    """Patches, or 1 for a scene."""


def evaluate(
    model: Runnable,
    card: ModelCard,
    dataset: Dataset,
    split: Split,
    *,
    limit: int | None = None,
    on_patch: OnPatch = lambda done, total: None,
) -> Evaluation:
    """Measure a model on the patches of a split.

    Args:
        model: A bundle's or a checkpoint's model.
        card: What to know of it.
        dataset: Patches with labels, of the card's tile size.
        split: Which of them.
        limit: Take this many at most, evenly spread over the split.
        on_patch: Called after every patch.

    Raises:
        DataError: If there is no such split, a patch has no labels, or the classes differ.
        BandError: If the data lacks an aerial band.
        GridError: If its aerial resolution is another one.
    """
    check_classes(card.classes, dataset.classes, str(dataset.root))
    ids = spread(dataset.ids(split), limit)
    check_dataset_fit(dataset, card, ids)
    matrix = ConfusionMatrix(len(card.classes))
    for done, (feed, labels) in enumerate(labelled_feeds(dataset, ids, card), start=1):
        matrix.update(labels, tile_maps(model.run(feed))["classes"][0])
        on_patch(done, len(ids))
    return _evaluation(matrix, card.classes, len(ids))


def labelled_feeds(
    dataset: Dataset, ids: Iterable[str], card: ModelCard
) -> Iterator[tuple[dict[str, NDArray[Any]], NDArray[np.uint8]]]:
    """Read patches one after the other, each as a model's feed and its labels, shape (H, W).

    Raises:
        DataError: If a patch is damaged or has no labels.
    """
    for patch_id in ids:
        sample = dataset.read(patch_id, card.satellite).with_bands(card.aerial.bands)
        if sample.labels is None:
            raise DataError(
                f"{dataset.root} has no labels for {patch_id}; expected a labelled split; "
                "choose another --split"
            )
        series = [sample.satellite] if sample.satellite else None
        yield make_feed([sample.aerial], series), sample.labels


def spread(ids: tuple[str, ...], limit: int | None) -> tuple[str, ...]:
    """Take at most `limit` ids, evenly spread and in order."""
    if limit is None or len(ids) <= limit:
        return ids
    return tuple(ids[i * len(ids) // limit] for i in range(limit))


def check_classes(
    model: tuple[LandCoverClass, ...], data: tuple[LandCoverClass, ...], where: str
) -> None:
    """Check that a model and a data set mean the same classes.

    Raises:
        DataError: Naming the first class that differs.
    """
    names, theirs = [c.name for c in model], [c.name for c in data]
    if names != theirs:
        raise DataError(
            f"{where} has the classes {', '.join(theirs)}; expected those of the model: "
            f"{', '.join(names)}; choose data with the same classes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEvaluation:
    """Scores of a scene's map: everywhere, and along the borders between tiles."""

    whole: Evaluation
    seams: Evaluation | None
    """None where the scene is one tile."""


def evaluate_map(
    map_path: Path, labels_path: Path, card: ModelCard, plan: TilePlan
) -> SceneEvaluation:
    """Measure a map that `pipeline.infer` wrote against a raster of labels.

    Args:
        map_path: Class indices; 255 is nodata.
        labels_path: Labels as FLAIR stores them, 1..19, on the map's grid.
        card: What to know of the model that made the map.
        plan: The tiles that it was made of.

    Raises:
        DataError: If a raster is damaged or holds other labels, or the model has other classes.
        GridError: If the two grids differ.
    """
    check_classes(card.classes, CLASSES, str(labels_path))
    with RasterReader(map_path) as reader:
        grid, predicted = reader.info.grid, reader.read_all()[0]
    with RasterReader(labels_path) as reader:
        check_labels(reader.info, grid)
        labels = class_indices(reader.read_all()[0], where=str(labels_path))
    near = seam_mask(plan)
    return SceneEvaluation(
        whole=_compare(labels, predicted, card),
        seams=_compare(labels[near], predicted[near], card) if near.any() else None,
    )


def _compare(
    labels: NDArray[np.uint8], predicted: NDArray[np.uint8], card: ModelCard
) -> Evaluation:
    matrix = ConfusionMatrix(len(card.classes))
    matrix.update(labels, predicted)
    return _evaluation(matrix, card.classes, 1)


def _evaluation(
    matrix: ConfusionMatrix, classes: tuple[LandCoverClass, ...], patches: int
) -> Evaluation:
    scores = score(matrix, [c.name for c in classes], [c.scored for c in classes])
    return Evaluation(scores=scores, matrix=matrix.counts, patches=patches)
