import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.metrics import IGNORE_INDEX, ConfusionMatrix, Scores, score

NAMES = ("water", "forest", "other")


def matrix_of(labels: list[int], predicted: list[int], classes: int = 3) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    matrix.update(np.array(labels, dtype=np.uint8), np.array(predicted, dtype=np.uint8))
    return matrix


def scores_of(counts: list[list[int]], candidates: tuple[bool, ...] = (True, True, True)) -> Scores:
    matrix = ConfusionMatrix(len(counts))
    matrix.counts += np.array(counts)
    return score(matrix, NAMES[: len(counts)], candidates)


def test_labels_are_rows_and_predictions_columns() -> None:
    matrix = matrix_of([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 0, 2])
    assert matrix.counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]


def test_ignored_labels_and_predictions_without_data_do_not_count() -> None:
    matrix = matrix_of([0, IGNORE_INDEX, 3, 1, 2], [0, 0, 1, IGNORE_INDEX, 3])
    assert matrix.counts.sum() == matrix.counts[0, 0] == 1


labels_maps = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).choice([0, 1, 2, 3, 255], (2, 7, 5)).astype(np.uint8)
)


@given(maps=st.lists(labels_maps, min_size=2, max_size=4))
def test_patches_add_up_whatever_their_shape(maps: list[NDArray[np.uint8]]) -> None:
    apart, together = ConfusionMatrix(4), ConfusionMatrix(4)
    for labels, predicted in maps:
        apart.update(labels, predicted)
    stacked = np.stack(maps)
    together.update(stacked[:, 0], stacked[:, 1])
    assert np.array_equal(apart.counts, together.counts)
    known = (stacked != 255).all(axis=1)
    assert together.counts.sum() == known.sum()


def test_maps_are_not_changed() -> None:
    labels, predicted = np.zeros((2, 4, 4), dtype=np.uint8)
    labels.setflags(write=False)
    predicted.setflags(write=False)
    ConfusionMatrix(3).update(labels, predicted)


def test_maps_of_two_shapes_are_a_wrong_call() -> None:
    with pytest.raises(ValueError, match=r"labels have shape \(4, 4\), predictions \(1, 4\)"):
        ConfusionMatrix(3).update(np.zeros((4, 4), np.uint8), np.zeros((1, 4), np.uint8))


def test_scores_are_those_worked_out_by_hand() -> None:
    found = scores_of([[6, 2, 0], [1, 5, 1], [3, 0, 2]])
    water, forest, other = found.classes
    assert [c.name for c in found.classes] == list(NAMES)
    assert [c.index for c in found.classes] == [0, 1, 2]
    assert (water.iou, forest.iou, other.iou) == pytest.approx((6 / 12, 5 / 9, 2 / 6))
    assert (water.precision, forest.precision, other.precision) == pytest.approx(
        (0.6, 5 / 7, 2 / 3)
    )
    assert (water.recall, forest.recall, other.recall) == pytest.approx((6 / 8, 5 / 7, 2 / 5))
    assert (water.f1, forest.f1, other.f1) == pytest.approx((12 / 18, 10 / 14, 4 / 8))
    assert (water.share, forest.share, other.share) == pytest.approx((0.4, 0.35, 0.25))
    assert found.miou == pytest.approx((6 / 12 + 5 / 9 + 2 / 6) / 3)
    assert found.accuracy == pytest.approx(13 / 20)
    assert (found.pixels, found.scored_classes) == (20, 3)
    assert found.worst == other


@pytest.mark.parametrize(("pixels", "scored"), [(5, True), (4, False)])
def test_a_class_is_scored_from_half_a_percent_of_the_pixels_on(pixels: int, scored: bool) -> None:
    found = scores_of([[1000 - pixels, 0], [0, pixels]], (True, True))
    assert [c.scored for c in found.classes] == [True, scored]
    assert found.scored_classes == 1 + scored


def test_a_rare_class_keeps_its_own_scores_but_not_the_mean() -> None:
    found = scores_of([[995, 1], [4, 0]], (True, True))
    assert found.miou == pytest.approx(995 / 1000)
    assert found.classes[1].iou == 0
    assert found.worst == found.classes[0]


def test_a_class_that_the_data_set_does_not_score_never_counts() -> None:
    found = scores_of([[10, 0, 0], [0, 5, 5], [0, 10, 10]], (True, True, False))
    assert found.miou == pytest.approx((1 + 5 / 20) / 2)
    assert found.scored_classes == 2
    assert found.pixels == 40


def test_shares_of_a_class_that_nobody_labelled_or_predicted_are_nan() -> None:
    absent = scores_of([[3, 0, 0], [0, 0, 0], [0, 0, 1]]).classes[1]
    assert all(map(math.isnan, (absent.iou, absent.f1, absent.precision, absent.recall)))
    assert not absent.scored


def test_a_class_predicted_but_never_labelled_has_iou_zero_and_no_recall() -> None:
    found = scores_of([[3, 1], [0, 0]], (True, True)).classes[1]
    assert (found.iou, found.precision, found.f1) == (0, 0, 0)
    assert math.isnan(found.recall)


def test_nothing_scored_gives_nan() -> None:
    empty = scores_of([[0, 0], [0, 0]], (True, True))
    assert math.isnan(empty.miou)
    assert math.isnan(empty.accuracy)
    assert (empty.scored_classes, empty.pixels, empty.worst) == (0, 0, None)
    unscored = scores_of([[3, 1], [0, 2]], (False, False))
    assert math.isnan(unscored.miou)
    assert unscored.accuracy == pytest.approx(5 / 6)
    assert unscored.worst is None
