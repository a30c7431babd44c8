import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from runtime.datasets.flair import CLASSES
from trainkit.config import TrainConfig
from trainkit.fusing import (
    GRID,
    PIXEL_STEP,
    TuneLogits,
    choose_weights,
    collect,
    search_per_class,
    spread_weights,
    sweep,
    write_sweep,
)
from trainkit.models import LateFusionModel
from trainkit.survey import split_patches
from trainkit.torch_model import feed_of

K = len(CLASSES)
PIXELS = 4000


def tune_logits(aerial_noise: float, satellite_noise: float, seed: int = 0) -> TuneLogits:
    """Logits that say the label, more or less clearly."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, K, PIXELS).astype(np.uint8)
    true = np.eye(K, dtype=np.float32)[:, labels]

    def noisy(spread: float) -> NDArray[np.float32]:
        return (true + spread * rng.standard_normal(true.shape)).astype(np.float32)

    return TuneLogits(
        aerial=noisy(aerial_noise),
        satellite=noisy(satellite_noise),
        labels=labels,
        classes=CLASSES,
    )


def test_weights_at_the_ends_are_the_branches_alone() -> None:
    logits = tune_logits(0.5, 1.0)
    assert (logits.fused(np.zeros(K, dtype=np.float32)) == logits.aerial).all()
    assert (logits.fused(np.ones(K, dtype=np.float32)) == logits.satellite).all()


def test_the_sweep_tries_every_weight_and_takes_the_best() -> None:
    weights, rows = sweep(tune_logits(0.6, 0.6))
    assert [row.satellite_weight for row in rows] == list(GRID)
    assert GRID[0] == 0.0
    assert GRID[-1] == 1.0
    (chosen,) = [row for row in rows if row.chosen]
    assert chosen.miou == max(row.miou for row in rows)
    assert (weights == np.float32(chosen.satellite_weight)).all()
    assert 0.3 <= chosen.satellite_weight <= 0.7


@pytest.mark.parametrize(
    ("aerial", "satellite", "low", "high"), [(0.4, 9, 0, 0.1), (9, 0.4, 0.8, 1)]
)
def test_a_branch_that_knows_nothing_gets_next_to_no_weight(
    aerial: float, satellite: float, low: float, high: float
) -> None:
    weights, _ = sweep(tune_logits(aerial, satellite))
    assert low <= weights[0] <= high


def test_scores_of_one_class_are_those_of_the_whole_model() -> None:
    logits = tune_logits(0.8, 0.8)
    weights = np.linspace(0.2, 0.8, K).astype(np.float32)
    for k in (0, 5, K - 1):
        quick = logits.scores_of_class(k, weights)
        for w, found in zip(GRID, quick, strict=True):
            changed = weights.copy()
            changed[k] = w
            assert found == logits.scores(changed)


def test_per_class_weights_are_never_worse_than_one_weight() -> None:
    logits = tune_logits(0.7, 0.9)
    # The satellite branch is blind to the first class.
    logits.satellite[0] = 0.0
    start, _ = sweep(logits)
    weights, rows = search_per_class(logits, start)
    before, after = logits.scores(start).miou, logits.scores(weights).miou
    assert after > before
    assert weights[0] != start[0]
    changed = {row.scope for row in rows if row.chosen}
    assert {c.name for c, w, s in zip(CLASSES, weights, start, strict=True) if w != s} <= changed


def test_aerial_branches_share_their_weight_equally() -> None:
    satellite = np.linspace(0, 1, K).astype(np.float32)
    weights = spread_weights(satellite, ("aerial", "aerial_2", "satellite"))
    assert weights.shape == (3, K)
    assert (weights[0] == weights[1]).all()
    np.testing.assert_allclose(weights.sum(axis=0), 1.0, rtol=1e-6)
    assert (weights[2] == satellite).all()


def test_logits_are_collected_where_the_model_itself_puts_them(
    dataset: Any, tiny: TrainConfig
) -> None:
    torch.manual_seed(0)
    model = LateFusionModel(tiny)
    tune = split_patches(dataset, tiny).tune
    logits = collect(model, tune, CLASSES)
    model.fusion.set_weights(np.array([0.75, 0.25], dtype=np.float32))
    with torch.no_grad():
        fused = model(feed_of(tune[0], model))[0]
    pixels = slice(PIXEL_STEP // 2, None, PIXEL_STEP)
    expected = fused[:, pixels, pixels].flatten(1).numpy()
    found = logits.fused(np.full(K, 0.25, dtype=np.float32))
    np.testing.assert_allclose(found[:, : expected.shape[1]], expected, atol=1e-5)
    assert tune[0].labels is not None
    assert (logits.labels[: expected.shape[1]] == tune[0].labels[pixels, pixels].ravel()).all()


@pytest.mark.parametrize("wanted", ["auto", "per-class"])
def test_weights_are_chosen_on_the_patches_set_aside_alone(
    dataset: Any, tiny: TrainConfig, wanted: Any
) -> None:
    model = LateFusionModel(tiny).train()
    sets = split_patches(dataset, tiny)
    choice = choose_weights(wanted, model, sets.tune, CLASSES)
    assert set(dataset.reads) == set(sets.tune.ids)
    assert choice.weights.shape == (2, K)
    assert not model.training
    scopes = {row.scope for row in choice.rows}
    assert scopes == ({"all"} if wanted == "auto" else {"all", *(c.name for c in CLASSES)})


def test_given_weights_are_taken_as_they_are(dataset: Any, tiny: TrainConfig) -> None:
    tune = split_patches(dataset, tiny).tune
    choice = choose_weights((0.7, 0.3), LateFusionModel(tiny), tune, CLASSES)
    assert (choice.weights == np.array([[0.7], [0.3]], dtype=np.float32)).all()
    assert choice.rows == ()
    assert dataset.reads == []


@pytest.mark.parametrize(("aerial", "satellite"), [(1, False), (2, False), (0, True)])
def test_without_two_kinds_of_branches_all_count_the_same(
    dataset: Any, tiny: TrainConfig, aerial: int, satellite: bool
) -> None:
    config = replace(
        tiny, aerial=tiny.aerial * aerial, satellite=tiny.satellite if satellite else None
    )
    tune = split_patches(dataset, config).tune
    choice = choose_weights("auto", LateFusionModel(config), tune, CLASSES)
    assert (choice.weights == 1.0 / (aerial + satellite)).all()


def test_the_table_says_what_was_tried(tmp_path: Path) -> None:
    _, rows = sweep(tune_logits(0.6, 0.6))
    write_sweep(tmp_path / "sweep.csv", rows)
    with (tmp_path / "sweep.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [float(row["satellite_weight"]) for row in table] == list(GRID)
    assert [float(row["miou"]) for row in table] == pytest.approx([r.miou for r in rows], abs=1e-6)
    assert sum(int(row["chosen"]) for row in table) == 1
