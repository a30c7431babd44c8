"""One contract for every model that a bundle is opened as, with every backend.

OpenVINO, ONNX Runtime on the CPU and on a GPU, and engines of every TensorRT on a GPU, where GPU,
driver and TensorRT are fakes that compute on the CPU.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from fake_ort_cuda import install_ort_cuda
from gpu_case import VERSIONS, GpuCase
from numpy.typing import NDArray

from runtime.backends import Backend, BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BackendError, FeedError
from runtime.manifest import Variant
from runtime.model import (
    OpenModel,
    golden_feed,
    open_model,
    repeated,
    without_satellite,
)
from runtime.output.values import tile_maps
from runtime.selftest import self_test

ENGINES = tuple(f"tensorrt {version}" for version in VERSIONS)
KINDS = ("openvino", "onnxruntime", "onnxruntime-cuda", *ENGINES)
LOGITS = {"aerial_logits", "satellite_logits"}
RESULTS: dict[Variant, set[str]] = {
    "classes": {"classes", "confidence"},
    "probabilities": {"probabilities"},
}

Arrays = dict[str, NDArray[Any]]


@dataclasses.dataclass
class Opener:
    """Opens a bundle with one backend, on what may be a fake machine."""

    kind: str
    bundle: Bundle
    machine: GpuCase | None
    opened: list[OpenModel] = dataclasses.field(default_factory=list)

    @property
    def backend(self) -> Backend:
        if self.machine is not None:
            return self.machine.builder
        return self.kind  # type: ignore[return-value]

    def __call__(self, *, variant: Variant = "classes", batch: int = 1) -> OpenModel:
        model: OpenModel
        if self.machine is not None:
            model = self.machine.open(self.bundle, variant=variant, batch=batch)
        else:
            choice = BackendChoice(name=self.backend, reason="a test")
            model = open_model(self.bundle, choice, variant=variant, threads=1, batch=batch)
        self.opened.append(model)
        return model


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(params=KINDS)
def opener(
    request: pytest.FixtureRequest,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Opener]:
    kind = request.param
    machine: GpuCase | None = None
    if kind in ENGINES:
        machine = GpuCase.install(monkeypatch, tmp_path, version=kind.split()[1])
    install_ort_cuda(monkeypatch)
    made = Opener(kind, bundle, machine)
    yield made
    for model in made.opened:
        model.close()
    assert machine is None or (machine.left(), machine.trt.missing) == ({}, [])


@pytest.fixture
def golden(bundle: Bundle) -> tuple[Arrays, Arrays]:
    return golden_feed(bundle)


def copied(results: Arrays) -> Arrays:
    return {name: array.copy() for name, array in results.items()}


def shifted(feed: Arrays, pixels: int) -> Arrays:
    return {**feed, "aerial": np.roll(feed["aerial"], pixels, axis=3)}


@pytest.mark.parametrize("variant", ["classes", "probabilities"])
def test_the_golden_tile_comes_out_as_it_is_stored(
    opener: Opener, golden: tuple[Arrays, Arrays], variant: Variant
) -> None:
    feed, expected = golden
    results = opener(variant=variant).run(feed)
    assert results.keys() - LOGITS == RESULTS[variant]
    for name, array in results.items():
        assert array.dtype == expected[name].dtype
        np.testing.assert_allclose(
            array.astype(np.float64), expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("variant", ["classes", "probabilities"])
def test_a_trace_holds_the_outputs_of_every_part_and_may_be_kept(
    opener: Opener, golden: tuple[Arrays, Arrays], variant: Variant
) -> None:
    feed, expected = golden
    model = opener(variant=variant)
    kept = model.trace(feed)
    model.run(shifted(feed, 9))
    model.trace(shifted(feed, 20))
    assert set(kept) == LOGITS | RESULTS[variant]
    for name, array in kept.items():
        np.testing.assert_allclose(
            array.astype(np.float64), expected[name], rtol=1e-5, atol=1e-5, err_msg=name
        )


def test_many_feeds_come_out_in_order_and_as_each_alone(
    opener: Opener, golden: tuple[Arrays, Arrays]
) -> None:
    model = opener()
    feeds = [shifted(golden[0], pixels) for pixels in (0, 8, 16, 24, 32)]
    alone = [tile_maps(copied(model.run(feed))) for feed in feeds]
    together = [tile_maps(copied(results)) for results in model.run_many(iter(feeds))]
    assert len(together) == len(alone)
    for one, many in zip(alone, together, strict=True):
        np.testing.assert_array_equal(many["classes"], one["classes"])
        np.testing.assert_array_equal(many["confidence"], one["confidence"])
    assert not np.array_equal(alone[0]["classes"], alone[1]["classes"])
    assert list(model.run_many([])) == []
    again = model.run(feeds[2])
    np.testing.assert_array_equal(again["classes"], alone[2]["classes"])


@pytest.mark.parametrize("batch", [1, 3])
def test_a_batch_gives_each_tile_what_it_gets_alone(
    opener: Opener, golden: tuple[Arrays, Arrays], batch: int
) -> None:
    feed, _ = golden
    single = opener()
    tiles = [shifted(feed, 8 * index) for index in range(batch)]
    alone = np.concatenate([single.run(tile)["classes"].copy() for tile in tiles])
    together = repeated(feed, batch)
    together["aerial"] = np.concatenate([tile["aerial"] for tile in tiles])
    model = opener(batch=batch)
    assert model.batch == batch
    assert {spec.name: spec.shape for spec in model.inputs} == {
        name: array.shape for name, array in together.items()
    }
    np.testing.assert_array_equal(model.run(together)["classes"], alone)


def test_parts_precision_and_times_are_told(opener: Opener, golden: tuple[Arrays, Arrays]) -> None:
    model = opener()
    names = ["aerial", "satellite", "fusion"]
    assert [part.name for part in model.parts] == names
    assert model.precision == "fp32"
    model.run(golden[0])
    once, stages = dict(model.part_seconds), dict(model.stage_ms)
    list(model.run_many([golden[0]] * 2))
    assert sorted(once) == sorted(names)
    assert all(0 < once[name] < model.part_seconds[name] for name in names)
    on_device = opener.machine is not None
    assert sorted(stages) == (sorted([*names, "upload", "download"]) if on_device else [])
    assert all(stages[name] < model.stage_ms[name] for name in stages)


@pytest.mark.parametrize("variant", ["classes", "probabilities"])
@pytest.mark.parametrize("batch", [1, 2])
def test_the_self_test_passes(opener: Opener, variant: Variant, batch: int) -> None:
    found = self_test(opener(variant=variant, batch=batch), opener.bundle, opener.backend)
    assert found.agreement == 1.0


def test_an_input_that_is_missing_or_of_another_kind_is_named(
    opener: Opener, golden: tuple[Arrays, Arrays]
) -> None:
    model = opener()
    feed, expected = golden
    without = {name: array for name, array in feed.items() if name != "days"}
    with pytest.raises(FeedError, match="input 'days' is missing; expected"):
        model.run(without)
    wide = {**feed, "aerial": np.concatenate([feed["aerial"]] * 2, axis=3)}
    floats = {**feed, "aerial": feed["aerial"].astype(np.float32)}
    for wrong in (wide, floats):
        for call in (model.run, model.trace, lambda item: next(model.run_many([item]))):
            with pytest.raises(FeedError, match=r"input 'aerial' .*; expected "):
                call(wrong)
    np.testing.assert_array_equal(model.run(feed)["classes"], expected["classes"])


def test_many_feeds_may_be_left_unfinished(opener: Opener, golden: tuple[Arrays, Arrays]) -> None:
    model = opener()
    feed, expected = golden
    results = model.run_many([shifted(feed, 8), feed, feed])
    next(results)
    del results
    np.testing.assert_array_equal(model.run(feed)["classes"], expected["classes"])


def fused_alone(bundle: Bundle, feed: Arrays, given: Arrays, variant: Variant) -> Arrays:
    """What the graphs give, by ONNX Runtime, when the satellite part's outputs are these."""
    known: Arrays = {**feed, **given}
    parts = bundle.manifest.parts_for(variant)
    for part in (parts[0], parts[-1]):
        session = onnxruntime.InferenceSession(
            str(bundle.file(part)), onnxruntime.SessionOptions(), providers=["CPUExecutionProvider"]
        )
        names = [spec.name for spec in part.outputs]
        values = session.run(names, {spec.name: known[spec.name] for spec in part.inputs})
        known.update(zip(names, values, strict=True))
    return {name: known[name] for name in RESULTS[variant]}


@pytest.mark.parametrize("variant", ["classes", "probabilities"])
def test_a_part_whose_outputs_are_given_is_not_run(
    opener: Opener, golden: tuple[Arrays, Arrays], variant: Variant
) -> None:
    model = opener(variant=variant)
    feed, expected = golden
    given = {"satellite_logits": np.flip(expected["satellite_logits"]).copy() * 8}
    alone = {"aerial": feed["aerial"], **given}
    right = fused_alone(opener.bundle, feed, given, variant)
    kept = model.trace(alone)
    results = copied(model.run(alone))
    assert set(kept) == {"aerial_logits"} | RESULTS[variant]
    for name in RESULTS[variant]:
        for found in (results, kept):
            np.testing.assert_allclose(found[name], right[name], rtol=1e-5, atol=1e-5)
    assert "satellite_logits" not in results
    assert "satellite" not in model.part_seconds
    assert not np.array_equal(right[min(RESULTS[variant])], expected[min(RESULTS[variant])])


def test_feeds_that_give_outputs_may_come_between_others(
    opener: Opener, golden: tuple[Arrays, Arrays]
) -> None:
    model = opener()
    feed, expected = golden
    shapes = {"satellite_logits": expected["satellite_logits"]}
    feeds = []
    for place in range(7):
        moved = shifted(feed, 8 * place)
        if place % 3:
            given = {name: array * place * (-1) ** place for name, array in shapes.items()}
            moved = {"aerial": moved["aerial"], **given}
        feeds.append(moved)
    alone = [copied(model.run(item))["classes"] for item in feeds]
    together = [results["classes"].copy() for results in model.run_many(iter(feeds))]
    np.testing.assert_array_equal(together, alone)
    for item, found in zip(feeds, alone, strict=True):
        given = {name: item[name] for name in shapes if name in item}
        if given:
            right = fused_alone(opener.bundle, item, given, "classes")
            np.testing.assert_array_equal(found, right["classes"])


@pytest.mark.parametrize("batch", [1, 3])
def test_zeros_in_place_of_the_satellite_leave_the_aerial_map(
    opener: Opener, golden: tuple[Arrays, Arrays], batch: int
) -> None:
    model = opener(batch=batch)
    feed, _ = golden
    aerial = np.concatenate([shifted(feed, 8 * tile)["aerial"] for tile in range(batch)])
    alone = without_satellite(model.parts, {"aerial": aerial}, batch)
    zeros = {"satellite_logits": alone["satellite_logits"]}
    assert zeros["satellite_logits"].shape == (batch, 13, 8, 8)
    assert not zeros["satellite_logits"].any()
    right = fused_alone(
        opener.bundle, {**repeated(feed, batch), "aerial": aerial}, zeros, "classes"
    )
    np.testing.assert_array_equal(model.run(alone)["classes"], right["classes"])


def test_given_outputs_of_another_kind_are_named(
    opener: Opener, golden: tuple[Arrays, Arrays]
) -> None:
    model = opener()
    feed, expected = golden
    logits = expected["satellite_logits"]
    for wrong in (logits[:, :, 1:], logits.astype(np.float64)):
        with pytest.raises(FeedError, match=r"'satellite_logits' .*; expected "):
            model.run({"aerial": feed["aerial"], "satellite_logits": wrong})
    np.testing.assert_array_equal(model.run(feed)["classes"], expected["classes"])


@pytest.mark.parametrize("batch", [1, 2])
def test_the_satellite_part_runs_alone_where_parts_run_one_by_one(
    opener: Opener, golden: tuple[Arrays, Arrays], batch: int
) -> None:
    model = opener(batch=batch)
    feed, expected = golden
    series = {name: feed[name] for name in ("satellite", "date_mask", "days")}
    if opener.machine is not None:
        with pytest.raises(BackendError, match="cannot be run alone on TensorRT yet; expected"):
            model.run_satellite(series)
        return
    found = model.run_satellite(series)
    model.run_satellite({**series, "satellite": series["satellite"] * 0})
    assert set(found) == {"satellite_logits"}
    assert set(model.part_seconds) == {"satellite"}
    np.testing.assert_allclose(
        found["satellite_logits"], expected["satellite_logits"], rtol=1e-5, atol=1e-5
    )
    with pytest.raises(FeedError, match="input 'days' is missing"):
        model.run_satellite({name: series[name] for name in ("satellite", "date_mask")})
