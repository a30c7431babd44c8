"""Models that are run on mirrored and turned tiles."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from local_model import OneByOne
from numpy.typing import NDArray

from runtime.augmented import SYMMETRIES, Augmented, TestTime, augmented
from runtime.backends import BackendChoice
from runtime.bundle import open_bundle
from runtime.errors import BackendError
from runtime.model import open_model, without_satellite
from runtime.output.values import tile_maps
from runtime.symmetry import Symmetry

Feed = Mapping[str, NDArray[Any]]

KINDS: tuple[TestTime, ...] = ("flips", "dihedral")
TILE, WINDOW, K = 24, 12, 5


def feed_of(batch: int = 2, seed: int = 0) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(seed)
    return {
        "aerial": rng.integers(0, 256, (batch, 3, TILE, TILE), dtype=np.uint8),
        "satellite": rng.random((batch, 12, 4, WINDOW, WINDOW), dtype=np.float32),
        "date_mask": (rng.random((batch, 12)) > 0.3).astype(np.float32),
        "days": rng.normal(0, 100, (batch, 12)).astype(np.float32),
    }


def moved(feed: Feed, symmetry: Symmetry) -> dict[str, NDArray[Any]]:
    return {
        name: symmetry(array) if name in ("aerial", "satellite") else array
        for name, array in feed.items()
    }


def shares(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    result: NDArray[np.float32] = (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32)
    return result


class Pointwise(OneByOne):
    """Scores of a pixel from its colour and from the cell that it lies on: equivariant.

    The window covers twice the tile, as a window reaches beyond its tile. It gives its results in
    one array, which the next call overwrites.
    """

    batch = 2

    def __init__(self) -> None:
        self.runs = 0
        self._result = np.empty((self.batch, K, TILE, TILE), dtype=np.float32)

    def scores(self, feed: Feed) -> NDArray[np.float64]:
        weight = (feed["date_mask"] * np.cos(feed["days"]))[:, :, None, None, None]
        cells = (feed["satellite"] * weight).mean(axis=(1, 2))
        quarter = WINDOW // 4
        inner = cells[:, quarter:-quarter, quarter:-quarter]
        below = np.kron(inner, np.ones((TILE * 2 // WINDOW,) * 2))
        bands = feed["aerial"].astype(np.float64).transpose(1, 0, 2, 3) / 64
        terms = (bands[0] * below, bands[1], bands[2] - below, below * 7, bands[0])
        return np.stack(terms, axis=1)

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        self.runs += 1
        np.copyto(self._result, shares(self.scores(feed)))
        return {"probabilities": self._result}


class Lopsided(Pointwise):
    """Takes the pixel two rows below and one column to the right: anything but equivariant."""

    def scores(self, feed: Feed) -> NDArray[np.float64]:
        return np.roll(super().scores(feed), (-2, -1), axis=(2, 3))


@pytest.mark.parametrize("kind", KINDS)
def test_an_equivariant_model_gives_the_same_numbers(kind: TestTime) -> None:
    model = Pointwise()
    feed = feed_of()
    plain = model.run(feed)["probabilities"].copy()
    averaged = augmented(model, kind).run(feed)["probabilities"]
    assert averaged.dtype == np.float32
    np.testing.assert_array_equal(averaged, plain)


@pytest.mark.parametrize("kind", KINDS)
def test_the_average_is_equivariant_whatever_the_model(kind: TestTime) -> None:
    model = augmented(Lopsided(), kind)
    feed = feed_of(seed=1)
    result = model.run(feed)["probabilities"]
    assert not np.array_equal(result, Lopsided().run(feed)["probabilities"])
    for symmetry in SYMMETRIES[kind]:
        np.testing.assert_array_equal(
            model.run(moved(feed, symmetry))["probabilities"], symmetry(result)
        )


def test_flips_alone_do_not_serve_turned_tiles() -> None:
    model, turn = augmented(Lopsided(), "flips"), Symmetry(turns=1)
    feed = feed_of()
    turned = model.run(moved(feed, turn))["probabilities"]
    assert not np.allclose(turned, turn(model.run(feed)["probabilities"]))


def test_the_result_is_the_mean_of_what_is_turned_back() -> None:
    feed, model = feed_of(seed=2), Lopsided()
    expected = np.mean(
        [
            np.float64(symmetry.inverse(model.run(moved(feed, symmetry))["probabilities"]))
            for symmetry in SYMMETRIES["dihedral"]
        ],
        axis=0,
    )
    found = augmented(model, "dihedral").run(feed)["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_batches_come_in_order_and_are_asked_for_one_by_one(kind: TestTime) -> None:
    feeds = [feed_of(seed=seed) for seed in range(3)]
    inner = Lopsided()
    asked: list[int] = []

    def source() -> Iterable[Feed]:
        for index, feed in enumerate(feeds):
            asked.append(index)
            yield feed

    found = augmented(inner, kind).run_many(source())
    for index, result in enumerate(found):
        assert asked == list(range(index + 1))
        alone = augmented(Lopsided(), kind).run(feeds[index])
        np.testing.assert_array_equal(result["probabilities"], alone["probabilities"])
    assert inner.runs == 3 * len(SYMMETRIES[kind])


def test_none_is_the_model_itself() -> None:
    model = Pointwise()
    assert augmented(model, "none") is model


def test_what_it_says_of_itself_is_what_the_model_says() -> None:
    inner = Pointwise()
    model = augmented(inner, "flips")
    assert (model.batch, model.precision, model.parts) == (2, "fp32", inner.parts)


def test_the_satellite_branch_alone_is_refused() -> None:
    with pytest.raises(BackendError, match="leave out --tta or --satellite-lattice"):
        Augmented(Pointwise(), SYMMETRIES["flips"]).run_satellite(feed_of())


# A bundle


@pytest.fixture(scope="module")
def bundle_model(tiny_bundle: Path) -> Iterator[Any]:
    choice = BackendChoice(name="onnxruntime", reason="a test")
    model = open_model(open_bundle(tiny_bundle), choice, variant="probabilities", batch=2)
    yield model
    model.close()


def bundle_feed() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(7)
    return {
        "aerial": rng.integers(0, 256, (2, 5, 64, 64), dtype=np.uint8),
        "satellite": rng.random((2, 12, 10, 8, 8), dtype=np.float32),
        "date_mask": np.ones((2, 12), dtype=np.float32),
        "days": np.tile(np.arange(12, dtype=np.float32) * 30, (2, 1)),
    }


@pytest.mark.parametrize("alone", [False, True], ids=["both", "aerial only"])
def test_a_bundle_is_run_in_every_symmetry(bundle_model: Any, alone: bool) -> None:
    """Also with zeros in place of a satellite branch that is left out."""
    feed = bundle_feed()
    if alone:
        feed = without_satellite(bundle_model.parts, {"aerial": feed["aerial"]}, 2)
    model = augmented(bundle_model, "dihedral")
    result = model.run(feed)["probabilities"]
    assert result.shape == (2, 13, 64, 64)
    once = bundle_model.run(feed)["probabilities"]
    assert not np.allclose(result, once)
    turn = Symmetry(turns=1, mirror=True)
    again = model.run({n: np.ascontiguousarray(a) for n, a in moved(feed, turn).items()})
    np.testing.assert_allclose(again["probabilities"], turn(result), atol=1e-6)


def test_classes_and_confidence_follow_from_the_mean(bundle_model: Any) -> None:
    result = augmented(bundle_model, "flips").run(bundle_feed())
    mean = result["probabilities"][0]
    maps = tile_maps(result)
    np.testing.assert_array_equal(maps["classes"][0], mean.argmax(axis=0))
    np.testing.assert_array_equal(maps["confidence"][0], np.rint(mean.max(axis=0) * 254))
