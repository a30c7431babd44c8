import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.backends import Backend, BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError, FeedError
from runtime.model import (
    golden_feed,
    make_feed,
    open_model,
    repeated,
    satellite_part,
    without_satellite,
)
from runtime.satellite import SatelliteInput


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


def choice(backend: Backend) -> BackendChoice:
    return BackendChoice(name=backend, reason="a test")


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("variant", ["classes", "probabilities"])
def test_the_golden_tile_comes_out_as_it_is_stored(
    opened: Bundle, backend: Backend, variant: str
) -> None:
    model = open_model(opened, choice(backend), variant=variant, threads=1)  # type: ignore[arg-type]
    feed, expected = golden_feed(opened)
    results = model.run(feed)
    last = {"classes": {"classes", "confidence"}, "probabilities": {"probabilities"}}[variant]
    assert set(results) == {"aerial_logits", "satellite_logits"} | last
    for name, array in results.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_allclose(
            array.astype(np.float64), expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )
    assert set(model.part_seconds) == {part.name for part in model.parts}
    assert model.precision == "fp32"
    assert model.takes_satellite
    model.close()


def test_a_model_of_one_input_takes_the_aerial_image_alone(
    write_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    opened = open_bundle(write_bundle(tmp_path / "alone.segx", satellite=False))
    assert opened.card.satellite is None
    model = open_model(opened, choice("onnxruntime"), threads=1)
    feed, expected = golden_feed(opened)
    assert set(feed) == {"aerial"}
    assert not model.takes_satellite
    np.testing.assert_array_equal(model.run(feed)["classes"], expected["classes"])


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_the_inputs_of_the_whole_model_are_those_that_no_part_gives(
    opened: Bundle, backend: Backend
) -> None:
    model = open_model(opened, choice(backend), threads=1, batch=2)
    assert {spec.name: (spec.dtype, spec.shape) for spec in model.inputs} == {
        "aerial": ("uint8", (2, 5, 64, 64)),
        "satellite": ("float32", (2, 12, 10, 8, 8)),
        "date_mask": ("float32", (2, 12)),
        "days": ("float32", (2, 12)),
    }
    assert model.stage_ms == {}
    model.close()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_many_feeds_come_out_in_order_and_as_each_alone(opened: Bundle, backend: Backend) -> None:
    model = open_model(opened, choice(backend), threads=1)
    feed, _ = golden_feed(opened)
    feeds = [{**feed, "aerial": np.roll(feed["aerial"], shift, axis=3)} for shift in (0, 8, 16)]
    alone = [model.run(item)["classes"].copy() for item in feeds]
    together = [results["classes"].copy() for results in model.run_many(iter(feeds))]
    np.testing.assert_array_equal(together, alone)
    assert not np.array_equal(alone[0], alone[1])
    assert list(model.run_many([])) == []


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_what_is_traced_may_be_kept(opened: Bundle, backend: Backend) -> None:
    model = open_model(opened, choice(backend), threads=1)
    feed, expected = golden_feed(opened)
    kept = model.trace(feed)
    model.run({**feed, "aerial": feed["aerial"][..., ::-1].copy()})
    assert set(kept) == {"aerial_logits", "satellite_logits", "classes", "confidence"}
    for name, array in kept.items():
        np.testing.assert_allclose(
            array.astype(np.float64), expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_a_tile_is_repeated_for_a_batch() -> None:
    tile = {"aerial": np.arange(6).reshape(1, 2, 3), "days": np.arange(4.0)[None]}
    made = repeated(tile, 3)
    assert {name: array.shape for name, array in made.items()} == {
        "aerial": (3, 2, 3),
        "days": (3, 4),
    }
    np.testing.assert_array_equal(made["aerial"][2], tile["aerial"][0])


def test_several_precisions_are_all_named(opened: Bundle) -> None:
    model = open_model(opened, choice("onnxruntime"), threads=1)
    session = model.sessions[0]
    session.precision = "int8+fp32"  # type: ignore[misc]
    assert model.precision == "fp32/int8+fp32"


def test_an_array_that_a_part_lacks_is_named(opened: Bundle) -> None:
    model = open_model(opened, choice("onnxruntime"), threads=1)
    feed, _ = golden_feed(opened)
    with pytest.raises(FeedError, match="input 'days' is missing"):
        model.run({name: array for name, array in feed.items() if name != "days"})


def satellite_input(value: float) -> SatelliteInput:
    return SatelliteInput(
        series=np.full((12, 10, 8, 8), value, dtype=np.float32),
        date_mask=np.full(12, value, dtype=np.float32),
        days=np.arange(12, dtype=np.float32) * value,
        dates_used=(),
    )


def test_tiles_are_stacked_in_order() -> None:
    tiles = [np.full((5, 4, 4), value, dtype=np.uint8) for value in (1, 2)]
    feed = make_feed(tiles, [satellite_input(1), satellite_input(2)])
    assert {name: (array.dtype.name, array.shape) for name, array in feed.items()} == {
        "aerial": ("uint8", (2, 5, 4, 4)),
        "satellite": ("float32", (2, 12, 10, 8, 8)),
        "date_mask": ("float32", (2, 12)),
        "days": ("float32", (2, 12)),
    }
    for array in feed.values():
        np.testing.assert_array_equal(array[1], array[0] * 2)
    assert set(make_feed(tiles, None)) == {"aerial"}


@pytest.mark.parametrize("content", [None, b"", b"no archive"])
def test_a_golden_tile_that_cannot_be_read_is_named(
    opened: Bundle, content: bytes | None, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged.segx"
    folder.mkdir()
    if content is not None:
        (folder / "golden.npz").write_bytes(content)
    with pytest.raises(BundleError, match=r"golden.npz cannot be read .*; expected .*; copy"):
        golden_feed(dataclasses.replace(opened, path=folder))


INPUTS = ("aerial", "date_mask", "days", "satellite")
LACKING = [f"input.{name}" for name in INPUTS] + ["output.classes", "output.confidence"]


def without(opened: Bundle, lacking: str, folder: Path) -> Bundle:
    """The bundle with a golden tile that lacks an array."""
    shutil.copytree(opened.path, folder)
    with np.load(folder / "golden.npz") as arrays:
        kept = {name: array for name, array in arrays.items() if name != lacking}
    np.savez(folder / "golden.npz", **kept)
    return dataclasses.replace(opened, path=folder)


@pytest.mark.parametrize("lacking", LACKING)
def test_a_golden_tile_that_lacks_something_is_refused(
    opened: Bundle, tmp_path: Path, lacking: str
) -> None:
    bundle = without(opened, lacking, tmp_path / "other.segx")
    expected = r"input\.aerial, input\.date_mask, .*, output\.classes and output\.confidence"
    with pytest.raises(BundleError, match=f"holds .*; expected {expected}; export"):
        golden_feed(bundle)


def test_the_golden_tile_of_one_branch_holds_the_inputs_of_that_branch(
    opened: Bundle, tmp_path: Path
) -> None:
    bundle = without(opened, "input.aerial", tmp_path / "other.segx")
    satellite = tuple(part for part in opened.manifest.parts if part.role == "satellite")
    (logits,) = satellite[0].outputs
    end = dataclasses.replace(opened.manifest.parts_for("classes")[-1], inputs=(logits,))
    manifest = dataclasses.replace(opened.manifest, parts=(*satellite, end))
    feed, _ = golden_feed(dataclasses.replace(bundle, manifest=manifest))
    assert sorted(feed) == ["date_mask", "days", "satellite"]


def test_a_model_without_the_part_cannot_leave_it_out(opened: Bundle) -> None:
    parts = opened.manifest.parts_for("classes")
    assert satellite_part(parts).name == "satellite"
    merged = parts[-1:]
    for call in (
        lambda: satellite_part(merged),
        lambda: without_satellite(merged, {"aerial": np.zeros(1)}, 1),
    ):
        with pytest.raises(BundleError, match=r"has the parts fusion; expected .*; use a bundle"):
            call()


def test_leaving_the_satellite_out_changes_nothing_else(opened: Bundle) -> None:
    feed, _ = golden_feed(opened)
    alone = without_satellite(opened.manifest.parts, feed, 3)
    assert all(alone[name] is array for name, array in feed.items())
    assert set(alone) - set(feed) == {"satellite_logits"}
    assert alone["satellite_logits"].shape == (3, 13, 8, 8)
