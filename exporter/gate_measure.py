"""Run a bundle in FP32 and what it was converted to on the same patches, and count pixels.

One patch is in memory at a time, and nothing is kept of it but tables of counts:

    patch --> FP32 branches, once --> fusion of all       the reference
                                  --> fusion of one kind  a single branch, one map each
          --> every candidate                             compared with labels and reference
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.boundary import boundary_band
from runtime.card import ModelCard, Runnable
from runtime.classes import LandCoverClass
from runtime.dataset import Dataset, check_dataset_fit
from runtime.errors import DataError
from runtime.evaluate import OnPatch, check_classes, labelled_feeds
from runtime.manifest import Role
from runtime.metrics import IGNORE_INDEX, ConfusionMatrix, Scores, score
from runtime.model import TileModel
from runtime.output.values import tile_maps

from .parity import CLASS_SCORES

NO_CLASS = "no class"
"""What a map says where it gives no index of a class: always wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapCounts:
    """Pixels of one model's maps by label (rows) and prediction (columns).

    There are K + 1 rows and columns: the last column is `NO_CLASS`, the last row is empty.
    """

    by_patch: NDArray[np.int64]
    """Shape (patches, K + 1, K + 1)."""
    boundary: NDArray[np.int64]
    """Pixels along borders between labels, of all patches, shape (K + 1, K + 1)."""
    agreement: float
    """Share of the pixels, labelled or not, where the map is as the reference, 0 to 1."""

    def scores(self, classes: Sequence[LandCoverClass]) -> Scores:
        """Score all pixels; the last class is `NO_CLASS`."""
        return _score(self.by_patch.sum(axis=0), classes)

    def boundary_scores(self, classes: Sequence[LandCoverClass]) -> Scores:
        """Score the pixels along borders; the last class is `NO_CLASS`."""
        return _score(self.boundary, classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was counted on the patches of a gate."""

    dataset: str
    split: str
    fingerprint: str
    """Hash of what the data set holds."""
    ids: tuple[str, ...]
    """Patches that were measured."""
    classes: tuple[LandCoverClass, ...]
    reference: MapCounts
    """The model in FP32."""
    singles: dict[str, MapCounts]
    """Its kinds of branches alone, `aerial` and `satellite`; empty for a model without both, and
    for one whose branches have no map of their own."""
    candidates: dict[str, MapCounts]
    executed: dict[str, str]
    """Precision that each candidate is computed in, by name."""
    as_one: bool = False
    """Whether the model takes both inputs, and no branch has a map of its own."""


@dataclass(frozen=True, slots=True)
class SingleBranches:
    """Maps of a model and of those of its branches that have a map of their own.

    The fusion part adds weighted logits, so that with zeros in place of all others a branch decides
    alone: the map is the branch's own winner. Where the weights differ between classes they stay in
    it: the branch as the fusion weighs it, not as it was trained. Aerial branches are taken
    together, as in training's own table of scores, and each branch runs once for all maps.

    Branches of a joint model give features, and no map; where it was trained to do without
    satellite features, zeros in their place give the map of the aerial side.
    """

    model: TileModel
    aerial_alone: bool = False
    """Whether a joint model gives a map without satellite features."""

    def run(
        self, feed: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]:
        """Map one tile.

        Args:
            feed: Inputs of a batch of one; see `TileModel.run`.

        Returns:
            The fused class map, shape (H, W), and those of `aerial` and `satellite` alone, as far
            as there are such; none of these for a model that has not both.
        """
        known, roles = dict(feed), dict[str, Role]()
        for part, session in zip(self.model.parts, self.model.sessions, strict=True):
            if part.role != "fusion":
                found = session.run({spec.name: known[spec.name] for spec in part.inputs})
                known.update(found)
                roles.update(dict.fromkeys(found, part.role))
        alone: dict[str, NDArray[np.uint8]] = {}
        for kind in self._kinds(roles):
            others = [name for name, role in roles.items() if role != kind]
            alone[kind] = self._fuse(known | {name: np.zeros_like(known[name]) for name in others})
        return self._fuse(known), alone

    def _kinds(self, roles: Mapping[str, Role]) -> tuple[Role, ...]:
        """Kinds of branches that have a map of their own, by the outputs of all branches."""
        kinds = sorted(set(roles.values()))
        if len(kinds) < 2:
            return ()
        if all(name.endswith(CLASS_SCORES) for name in roles):
            return tuple(kinds)
        return ("aerial",) if self.aerial_alone else ()

    def _fuse(self, known: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
        given = dict(known)
        for part, session in zip(self.model.parts, self.model.sessions, strict=True):
            if part.role == "fusion":
                given.update(session.run({spec.name: given[spec.name] for spec in part.inputs}))
        # A session may overwrite its outputs when it runs again.
        return np.array(tile_maps(given)["classes"][0])


@dataclass
class _Counting:
    """Counts of one map, patch by patch."""

    num_classes: int
    by_patch: list[NDArray[np.int64]] = field(default_factory=list)
    boundary: ConfusionMatrix = field(init=False)
    same: int = 0
    pixels: int = 0

    def __post_init__(self) -> None:
        """Start from zero."""
        self.boundary = ConfusionMatrix(self.num_classes + 1)

    def add(self, predicted: NDArray[np.uint8], truth: "_Truth") -> None:
        """Add the map of one patch, shape (H, W)."""
        matrix = ConfusionMatrix(self.num_classes + 1)
        # What is no class must count as wrong, where `ConfusionMatrix` would pass it over.
        predicted = np.minimum(predicted, np.uint8(self.num_classes))
        matrix.update(truth.labels, predicted)
        self.by_patch.append(matrix.counts)
        self.boundary.update(truth.labels[truth.band], predicted[truth.band])
        self.same += int((predicted == truth.reference).sum())
        self.pixels += predicted.size

    def finish(self) -> MapCounts:
        """Sum up."""
        return MapCounts(
            by_patch=np.stack(self.by_patch),
            boundary=self.boundary.counts,
            agreement=self.same / self.pixels,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Truth:
    """What the maps of one patch are compared with, arrays of shape (H, W)."""

    labels: NDArray[np.uint8]
    band: NDArray[np.bool_]
    reference: NDArray[np.uint8]


def measure_gate(
    reference: TileModel,
    candidates: Mapping[str, Runnable],
    card: ModelCard,
    dataset: Dataset,
    ids: Sequence[str],
    *,
    split: str = "",
    on_patch: OnPatch = lambda done, total: None,
) -> Measured:
    """Run the FP32 model, its single branches and all candidates on the same patches.

    Args:
        reference: The FP32 bundle, opened for class maps with a batch of one.
        candidates: What is compared with it, by name.
        card: What to know of the model.
        dataset: Patches with labels, of the card's tile size.
        ids: Which of them.
        split: What the report calls them.
        on_patch: Called after every patch.

    Raises:
        DataError: If there are no patches, one has no labels, they hold no scored class, or the
            classes differ.
        BandError: If the data lacks an aerial band.
        GridError: If its aerial resolution is another one.
    """
    check_classes(card.classes, dataset.classes, str(dataset.root))
    if not ids:
        raise DataError(
            f"{dataset.root} gives no patches to measure on; expected at least 1; choose another "
            "split"
        )
    check_dataset_fit(dataset, card, ids)
    singles = SingleBranches(reference, aerial_alone=card.single_branch)
    count = len(card.classes)
    fused, alone, found = _Counting(count), dict[str, _Counting](), dict[str, _Counting]()
    for done, (feed, labels) in enumerate(labelled_feeds(dataset, ids, card), start=1):
        fused_map, single_maps = singles.run(feed)
        truth = _Truth(
            labels=np.where(labels < count, labels, np.uint8(IGNORE_INDEX)),
            band=boundary_band(labels),
            reference=fused_map,
        )
        fused.add(fused_map, truth)
        for name, predicted in single_maps.items():
            alone.setdefault(name, _Counting(count)).add(predicted, truth)
        for name, model in candidates.items():
            predicted = tile_maps(model.run(feed))["classes"][0]
            found.setdefault(name, _Counting(count)).add(predicted, truth)
        on_patch(done, len(ids))
    measured = Measured(
        dataset=dataset.root.resolve().name,
        split=split,
        fingerprint=dataset.fingerprint(),
        ids=tuple(ids),
        classes=card.classes,
        reference=fused.finish(),
        singles={name: counting.finish() for name, counting in alone.items()},
        candidates={name: counting.finish() for name, counting in found.items()},
        executed={name: model.precision for name, model in candidates.items()},
        as_one=card.satellite is not None and reference.takes_satellite and not alone,
    )
    if not measured.reference.scores(card.classes).scored_classes:
        raise DataError(
            f"{dataset.root} has no label of a scored class in {len(ids)} patch(es); expected at "
            "least one class that is scored; choose another split"
        )
    return measured


def _score(counts: NDArray[np.int64], classes: Sequence[LandCoverClass]) -> Scores:
    matrix = ConfusionMatrix(len(classes) + 1)
    matrix.counts += counts
    names = [*(item.name for item in classes), NO_CLASS]
    return score(matrix, names, [*(item.scored for item in classes), False])
