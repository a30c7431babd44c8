import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from runtime.output.values import maps_of, tile_maps


@given(st.integers(0, 2**32 - 1))
def test_classes_and_confidence_follow_from_probabilities(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.full(13, 0.4), (1, 5, 6)).astype(np.float32)
    probabilities = np.moveaxis(shares, -1, 1)
    maps = tile_maps({"probabilities": probabilities})
    assert {name: (a.dtype.name, a.shape) for name, a in maps.items()} == {
        "classes": ("uint8", (1, 5, 6)),
        "confidence": ("uint8", (1, 5, 6)),
        "probabilities": ("uint8", (13, 5, 6)),
    }
    np.testing.assert_array_equal(maps["classes"][0], probabilities[0].argmax(axis=0))
    np.testing.assert_array_equal(maps["confidence"][0], maps["probabilities"].max(axis=0))
    winner = np.take_along_axis(maps["probabilities"], maps["classes"].astype(np.intp), axis=0)
    np.testing.assert_array_equal(winner, maps["confidence"])
    assert maps["probabilities"].max() <= 254
    total = maps["probabilities"].astype(int).sum(axis=0)
    assert np.abs(total - 254).max() <= 13 / 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_the_margin_is_what_the_largest_has_over_the_second(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    # Few distinct values, so that there are ties.
    counts = rng.integers(0, 4, (classes, 5, 6)) + np.eye(classes, 1)[:, :, None]
    shares = (counts / counts.sum(axis=0)).astype(np.float32)
    ordered = np.sort(np.concatenate([np.zeros((1, 5, 6), np.float32), shares]), axis=0)
    maps = maps_of(shares, ("margin",))
    assert list(maps) == ["classes", "confidence", "margin"]
    np.testing.assert_array_equal(maps["margin"][0], np.rint((ordered[-1] - ordered[-2]) * 254))


def test_certainty_is_254_and_never_nodata() -> None:
    probabilities = np.zeros((1, 2, 1, 1), dtype=np.float32)
    probabilities[0, 1] = 1
    maps = tile_maps({"probabilities": probabilities})
    assert (maps["classes"].item(), maps["confidence"].item()) == (1, 254)


def test_a_class_map_passes_as_it_is() -> None:
    classes = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    maps = tile_maps({"classes": classes, "confidence": classes * 2, "aerial_logits": classes})
    assert set(maps) == {"classes", "confidence"}
    np.testing.assert_array_equal(maps["classes"], classes)
