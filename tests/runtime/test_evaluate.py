import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.card import ModelCard
from runtime.dataset import Dataset, open_dataset
from runtime.datasets.flair import CLASSES
from runtime.errors import DataError, GridError
from runtime.evaluate import Evaluation, check_classes, evaluate, evaluate_map, spread
from runtime.manifest import AerialSpec, Normalization
from runtime.metrics import ConfusionMatrix
from runtime.model import open_model
from runtime.sample import AERIAL_BANDS
from runtime.satellite import SatelliteSpec
from runtime.stream.seams import seam_mask
from runtime.tiler import TilePlan

Write = Callable[..., Path]
AddArea = Callable[..., Path]


def card(tile: int = 512, halo: int = 64, satellite: SatelliteSpec | None = None) -> ModelCard:
    return ModelCard(
        name="fake",
        sha256="0" * 64,
        verified=True,
        toy=False,
        aerial=AerialSpec(
            bands=AERIAL_BANDS,
            resolution_m=0.2,
            tile_size=tile,
            halo=halo,
            stride=1,
            halo_exact=True,
            normalization=Normalization(mean=(0.0,) * 5, std=(1.0,) * 5),
        ),
        satellite=satellite,
        classes=CLASSES,
    )


class Prepared:
    """A model that gives prepared class maps back, one after the other."""

    precision = "fp32"

    def __init__(self, maps: list[NDArray[np.uint8]]) -> None:
        self.maps = maps
        self.feeds: list[set[str]] = []

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        classes = self.maps[len(self.feeds)][None]
        self.feeds.append(set(feed))
        return {"classes": classes, "confidence": classes}


def labelled(dataset: Dataset) -> list[NDArray[np.uint8]]:
    found = [dataset.read(patch, None).labels for patch in dataset.ids("train")]
    return [labels for labels in found if labels is not None]


@pytest.fixture
def dataset(add_area: AddArea) -> Dataset:
    """Two labelled patches, both in the split `train`."""
    root = add_area({"IMG_000001": (30.0, 20.0), "IMG_000002": (31.0, 21.0)})
    (root / "splits.json").write_text('{"train": ["IMG_000001", "IMG_000002"], "val": []}')
    return open_dataset(root)


def test_a_model_that_knows_the_labels_is_right_everywhere(dataset: Dataset) -> None:
    seen: list[tuple[int, int]] = []
    model = Prepared([np.where(labels == 255, 3, labels) for labels in labelled(dataset)])
    result = evaluate(
        model, card(), dataset, "train", on_patch=lambda done, total: seen.append((done, total))
    )
    assert (result.scores.miou, result.scores.accuracy) == (1.0, 1.0)
    assert result.scores.scored_classes == 12
    assert result.scores.pixels == sum(int((labels < 255).sum()) for labels in labelled(dataset))
    assert result.patches == 2
    assert seen == [(1, 2), (2, 2)]
    assert model.feeds == [{"aerial"}] * 2


def test_a_model_of_fewer_bands_gets_them_in_its_own_order(dataset: Dataset) -> None:
    bands = ("elevation", "red")
    seen: list[NDArray[Any]] = []

    class Watching:
        precision = "fp32"

        def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
            seen.append(feed["aerial"])
            classes = np.zeros(feed["aerial"].shape[:1] + feed["aerial"].shape[2:], np.uint8)
            return {"classes": classes, "confidence": classes}

    spec = dataclasses.replace(
        card().aerial, bands=bands, normalization=Normalization(mean=(0.0,) * 2, std=(1.0,) * 2)
    )
    evaluate(Watching(), dataclasses.replace(card(), aerial=spec), dataset, "train")
    for patch_id, aerial in zip(dataset.ids("train"), seen, strict=True):
        np.testing.assert_array_equal(aerial[0], dataset.read(patch_id, None).aerial[[4, 0]])


def test_data_of_another_resolution_is_refused_before_it_is_read(dataset: Dataset) -> None:
    spec = dataclasses.replace(card().aerial, resolution_m=0.25)
    with pytest.raises(GridError, match=r"has 0.200 m per pixel in .*; expected 0.250 m within"):
        evaluate(Prepared([]), dataclasses.replace(card(), aerial=spec), dataset, "train")


def test_counts_are_those_of_the_confusion_matrix(dataset: Dataset) -> None:
    rng = np.random.default_rng(0)
    maps = [rng.integers(0, 13, (512, 512), dtype=np.uint8) for _ in range(2)]
    result = evaluate(Prepared(maps), card(), dataset, "train")
    expected = ConfusionMatrix(13)
    for labels, predicted in zip(labelled(dataset), maps, strict=True):
        expected.update(labels, predicted)
    np.testing.assert_array_equal(result.matrix, expected.counts)


def test_a_model_of_two_inputs_gets_the_series_of_each_patch(dataset: Dataset) -> None:
    model = Prepared(labelled(dataset))
    evaluate(model, card(satellite=SatelliteSpec(window=8)), dataset, "train")
    assert model.feeds == [{"aerial", "satellite", "date_mask", "days"}] * 2


def test_a_bundle_is_measured_as_it_runs(
    write_bundle: Write, dataset: Dataset, tmp_path: Path
) -> None:
    opened = open_bundle(write_bundle(tmp_path / "b.segx", tile=512, halo=64))
    choice = BackendChoice(name="onnxruntime", reason="a test")
    model = open_model(opened, choice, threads=1)
    one = evaluate(model, opened.card, dataset, "train", limit=1)
    assert one.patches == 1
    assert one.matrix.sum() == (labelled(dataset)[0] < 255).sum()
    probabilities = open_model(opened, choice, variant="probabilities", threads=1)
    again = evaluate(probabilities, opened.card, dataset, "train", limit=1)
    np.testing.assert_array_equal(one.matrix, again.matrix)


def test_a_split_that_is_not_there_is_named(dataset: Dataset) -> None:
    with pytest.raises(DataError, match="has no split 'val'"):
        evaluate(Prepared([]), card(), dataset, "val")


def test_a_patch_without_labels_is_refused(dataset: Dataset) -> None:
    for mask in dataset.root.rglob("MSK_000001.tif"):
        mask.unlink()
    with pytest.raises(DataError, match=r"no labels for IMG_000001; expected .*; choose"):
        evaluate(Prepared([]), card(), open_dataset(dataset.root), "train")


def test_a_model_of_other_classes_is_refused(dataset: Dataset) -> None:
    other = dataclasses.replace(card(), classes=CLASSES[:5])
    with pytest.raises(DataError, match=r"has the classes .*; expected those of the model"):
        evaluate(Prepared([]), other, dataset, "train")
    check_classes(CLASSES, CLASSES, "data")


@given(st.integers(0, 60), st.one_of(st.none(), st.integers(1, 70)))
def test_a_limit_is_spread_over_the_whole_split(count: int, limit: int | None) -> None:
    ids = tuple(f"{i:03}" for i in range(count))
    chosen = spread(ids, limit)
    assert len(chosen) == (count if limit is None else min(count, limit))
    assert list(chosen) == sorted(set(chosen))
    if limit is not None and 1 < limit < count:
        steps = np.diff([int(i) for i in chosen])
        assert steps.max() - steps.min() <= 1


# Scenes.

ONE = TilePlan(shape=(90, 100), size=512, halo=64)


def scores(evaluation: Evaluation | None) -> float:
    assert evaluation is not None
    return evaluation.scores.accuracy


def test_a_scene_is_measured_everywhere_and_along_its_seams(
    write_aerial: Write, tmp_path: Path
) -> None:
    small = card(tile=64, halo=16)
    labels = np.random.default_rng(0).integers(0, 20, (1, 90, 100), dtype=np.uint8)
    predicted = np.where(labels == 0, 0, np.minimum(labels, 13) - 1).astype(np.uint8)
    plan = TilePlan(shape=(90, 100), size=64, halo=16)
    near = seam_mask(plan)
    predicted[0, near] = (predicted[0, near] + 1) % 13
    predicted[0, 0, 0] = 255
    map_path = write_aerial(tmp_path / "map.tif", predicted, bands=(), nodata=255)
    labels_path = write_aerial(tmp_path / "labels.tif", labels, bands=())
    result = evaluate_map(map_path, labels_path, small, plan)
    assert scores(result.seams) == 0
    counted = (labels[0] > 0) & (predicted[0] < 255)
    assert result.whole.scores.pixels == counted.sum()
    assert scores(result.whole) == pytest.approx((counted & ~near).sum() / counted.sum())
    alone = evaluate_map(map_path, labels_path, small, ONE)
    assert alone.seams is None, "one tile has no seam"


def test_labels_on_another_grid_are_refused(write_aerial: Write, tmp_path: Path) -> None:
    image = np.ones((1, 30, 30), dtype=np.uint8)
    map_path = write_aerial(tmp_path / "map.tif", image, bands=())
    others = {
        "smaller.tif": write_aerial(tmp_path / "smaller.tif", image[:, :29], bands=()),
        "moved.tif": write_aerial(
            tmp_path / "moved.tif",
            image,
            bands=(),
            transform=Affine(0.2, 0.0, 861_904.8, 0.0, -0.2, 6_523_377.2),
        ),
    }
    for name, path in others.items():
        with pytest.raises(GridError, match=rf"{name} is .* px on another grid than .*; warp"):
            evaluate_map(map_path, path, card(), ONE)


@pytest.mark.parametrize(
    "labels",
    [
        np.ones((1, 30, 30), dtype=np.uint16),
        np.ones((2, 30, 30), dtype=np.uint8),
        np.full((1, 30, 30), 20, dtype=np.uint8),
    ],
)
def test_labels_of_another_kind_are_refused(
    labels: NDArray[Any], write_aerial: Write, tmp_path: Path
) -> None:
    map_path = write_aerial(tmp_path / "map.tif", np.ones((1, 30, 30), dtype=np.uint8), bands=())
    path = write_aerial(tmp_path / "labels.tif", labels, bands=())
    with pytest.raises(DataError, match=r"labels\.tif .*; expected .*; "):
        evaluate_map(map_path, path, card(), ONE)


def test_a_model_of_other_classes_cannot_be_measured_on_flair_labels(
    write_aerial: Write, tmp_path: Path
) -> None:
    image = np.ones((1, 30, 30), dtype=np.uint8)
    path = write_aerial(tmp_path / "map.tif", image, bands=())
    other = dataclasses.replace(card(), classes=CLASSES[:5])
    with pytest.raises(DataError, match="expected those of the model"):
        evaluate_map(path, path, other, ONE)
