"""One contract for every session of a part.

OpenVINO, ONNX Runtime on the CPU and on a GPU, and engines of every TensorRT on a GPU, where GPU,
driver and TensorRT are fakes that compute on the CPU.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_ort_cuda import install_ort_cuda
from gpu_case import VERSIONS, GpuCase
from numpy.typing import NDArray

from runtime.backends import Backend, open_session
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BackendError, BundleError, FeedError
from runtime.gpu.model import GpuModel
from runtime.manifest import Manifest, PartSpec
from runtime.model import golden_feed
from runtime.session import ExecutedPrecision, Session, check_feed

ENGINES = tuple(f"tensorrt {version}" for version in VERSIONS)
KINDS = ("fake", "openvino", "onnxruntime", "onnxruntime-cuda", *ENGINES)


class FakeSession:
    """A session that gives prepared arrays back."""

    precision: ExecutedPrecision = "fp32"

    def __init__(self, part: PartSpec, outputs: Mapping[str, NDArray[Any]]) -> None:
        self.inputs = tuple(
            dataclasses.replace(spec, shape=spec.with_batch(1)) for spec in part.inputs
        )
        self._outputs = dict(outputs)

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        check_feed(self.inputs, feed)
        return dict(self._outputs)

    def close(self) -> None:
        self._outputs.clear()


@dataclasses.dataclass
class OnePart:
    """A manifest of one part, whatever that part is."""

    manifest: Manifest
    part: PartSpec

    def parts_for(self, variant: str) -> tuple[PartSpec, ...]:
        return (self.part,)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.manifest, name)


@dataclasses.dataclass(frozen=True)
class Case:
    """An opened part with a feed and the outputs expected for it."""

    session: Session
    part: PartSpec
    feed: dict[str, NDArray[Any]]
    expected: dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture(params=[(kind, part) for kind in KINDS for part in range(4)], ids=str)
def case(
    request: pytest.FixtureRequest,
    opened: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Case]:
    kind, index = request.param
    part = opened.manifest.parts[index]
    feed, outputs = golden_feed(opened)
    known = {**feed, **outputs}
    expected = {spec.name: known[spec.name] for spec in part.outputs}
    gpu: GpuCase | None = None
    session: Session
    if kind == "fake":
        session = FakeSession(part, expected)
    elif kind in ENGINES:
        gpu = GpuCase.install(monkeypatch, tmp_path, version=kind.split()[1])
        alone: Any = OnePart(opened.manifest, part)
        session = gpu.open(dataclasses.replace(opened, manifest=alone))  # type: ignore[assignment]
    else:
        install_ort_cuda(monkeypatch)
        session = open_session(kind, opened.file(part), part, threads=1)
    yield Case(session, part, {spec.name: known[spec.name] for spec in part.inputs}, expected)
    session.close()
    assert gpu is None or (gpu.left(), gpu.trt.missing) == ({}, [])


def test_inputs_are_those_of_the_part_with_the_batch_filled_in(case: Case) -> None:
    assert [spec.name for spec in case.session.inputs] == [spec.name for spec in case.part.inputs]
    assert [spec.shape for spec in case.session.inputs] == [
        array.shape for array in case.feed.values()
    ]


def test_outputs_are_those_of_the_part_in_its_order(case: Case) -> None:
    results = case.session.run(case.feed)
    assert list(results) == [spec.name for spec in case.part.outputs]
    for spec in case.part.outputs:
        assert results[spec.name].shape == spec.with_batch(1)
        assert results[spec.name].dtype == np.dtype(spec.dtype)


def test_every_backend_gives_the_same(case: Case) -> None:
    for name, array in case.session.run(case.feed).items():
        if array.dtype == np.uint8:
            np.testing.assert_array_equal(array, case.expected[name])
        else:
            np.testing.assert_allclose(array, case.expected[name], rtol=1e-5, atol=1e-5)


def test_results_that_are_kept_are_copied_as_buffers_may_be_used_again(case: Case) -> None:
    first = {name: array.copy() for name, array in case.session.run(case.feed).items()}
    other = {
        name: np.zeros_like(array) if array.dtype == np.float32 else array[..., ::-1].copy()
        for name, array in case.feed.items()
    }
    case.session.run(other)
    again = case.session.run(case.feed)
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])


def test_arrays_of_any_layout_are_taken(case: Case) -> None:
    expected = {name: array.copy() for name, array in case.session.run(case.feed).items()}
    spread = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in case.feed.items()}
    frozen = {name: array.copy() for name, array in case.feed.items()}
    for array in frozen.values():
        array.flags.writeable = False
    for feed in (spread, frozen, dict(reversed(case.feed.items()))):
        for name, array in case.session.run(feed).items():
            np.testing.assert_array_equal(array, expected[name])


def test_a_missing_input_is_named(case: Case) -> None:
    name, *others = case.feed
    with pytest.raises(FeedError, match=f"input '{name}' is missing; expected"):
        case.session.run({other: case.feed[other] for other in others})


def test_an_input_too_many_is_named_and_passed_over_by_a_whole_model(case: Case) -> None:
    if isinstance(case.session, GpuModel):
        more = case.session.run({**case.feed, "zenith": np.zeros(1, dtype=np.float32)})
        assert list(more) == list(case.expected)
        return
    with pytest.raises(FeedError, match="input 'zenith' is not known; expected"):
        case.session.run({**case.feed, "zenith": np.zeros(1, dtype=np.float32)})


def test_an_input_of_another_dtype_is_named(case: Case) -> None:
    name = next(iter(case.feed))
    message = f"input '{name}' is float64; expected {case.part.inputs[0].dtype}; give the tile"
    with pytest.raises(FeedError, match=message):
        case.session.run({**case.feed, name: case.feed[name].astype(np.float64)})


@pytest.mark.parametrize("axis", [0, -1])
def test_an_input_of_another_shape_is_named(case: Case, axis: int) -> None:
    name, array = next(iter(case.feed.items()))
    wrong = np.concatenate([array, array], axis=axis)
    # A model on a GPU takes batches of several sizes, and says so.
    message = f"input '{name}' has shape .*; expected |the feed has 2 tiles; expected 1 to 1"
    with pytest.raises(FeedError, match=message):
        case.session.run({**case.feed, name: wrong})


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_batch_gives_each_tile_what_it_gets_alone(opened: Bundle, backend: Backend) -> None:
    part = opened.manifest.parts[0]
    pixels = np.random.default_rng(1).integers(0, 256, (3, 5, 64, 64), dtype=np.uint8)
    alone = open_session(backend, opened.file(part), part, threads=1)
    single = [alone.run({"aerial": tile[None]})["aerial_logits"].copy() for tile in pixels]
    batched = open_session(backend, opened.file(part), part, batch=3, threads=1)
    assert batched.inputs[0].shape == (3, 5, 64, 64)
    np.testing.assert_array_equal(
        batched.run({"aerial": pixels})["aerial_logits"], np.concatenate(single)
    )


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_file_that_is_no_graph_is_one_line(
    opened: Bundle, backend: Backend, tmp_path: Path
) -> None:
    part = opened.manifest.parts[0]
    for name, content in {
        "empty.onnx": b"",
        "cut.onnx": opened.file(part).read_bytes()[:99],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BundleError) as refused:
            open_session(backend, tmp_path / name, part)
        assert str(refused.value).count(";") >= 2
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_graph_with_other_names_than_the_manifest_says_is_refused(
    opened: Bundle, backend: Backend, side: str
) -> None:
    part = opened.manifest.parts[0]
    (spec,) = getattr(part, side)
    changes: dict[str, Any] = {side: (dataclasses.replace(spec, name="other"),)}
    renamed = dataclasses.replace(part, **changes)
    with pytest.raises(BundleError, match=r"maps aerial to aerial_logits; expected .*other"):
        open_session(backend, opened.file(part), renamed)


def test_a_shape_that_the_graph_cannot_take_is_refused(opened: Bundle) -> None:
    part = opened.manifest.parts[0]
    wider = dataclasses.replace(part.inputs[0], shape=("N", 7, 64, 64))
    with pytest.raises(BundleError, match="cannot be compiled by OpenVINO"):
        open_session("openvino", opened.file(part), dataclasses.replace(part, inputs=(wider,)))


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_a_library_that_cannot_be_imported_is_one_line(
    opened: Bundle, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, backend, None)
    part = opened.manifest.parts[0]
    with pytest.raises(BackendError, match=r"cannot be imported \(.*\); expected it .*; .*pip"):
        open_session(backend, opened.file(part), part)
