"""What OpenVINO compiled in INT8 is kept, and is the same when it is opened again."""

import inspect
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from int8_graph import SHAPE, quantized_part, quantized_weights, write_quantized
from numpy.typing import NDArray

from runtime.backends import open_session
from runtime.engines.cache import EngineCache
from runtime.engines.compiled import CompiledGraphs
from runtime.errors import BundleError
from runtime.manifest import Precision
from runtime.openvino_core import kernels_tried, the_core


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """A cache that is not there yet."""
    return EngineCache(tmp_path / "cache")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """A graph with INT8 weights."""
    return write_quantized(tmp_path / "made.onnx")


def write_graph(path: Path, *, largest: int) -> Path:
    """Write it with another largest weight."""
    weights = quantized_weights()["w1"]
    weights.flat[0] = largest
    return write_quantized(path, w1=weights)


Opening = Callable[..., tuple[Any, Counter[str]]]


@pytest.fixture
def opening(graph: Path, cache: EngineCache, monkeypatch: pytest.MonkeyPatch) -> Opening:
    """Function that opens a graph and counts how it was made."""
    core = the_core()
    made: Counter[str] = Counter()

    def count(name: str) -> None:
        make = getattr(core, name)

        def counted(*given: Any) -> Any:
            made[name] += 1
            return make(*given)

        monkeypatch.setattr(core, name, counted)

    count("compile_model")
    count("import_model")
    kernels_tried()

    def opened(
        path: Path = graph, precision: Precision = "int8", **how: Any
    ) -> tuple[Any, Counter[str]]:
        made.clear()
        how = {"threads": 1, "kept": CompiledGraphs(cache), **how}
        session = open_session("openvino", path, quantized_part(precision), **how)
        return session, Counter(made)

    return opened


def ran(session: Any) -> NDArray[Any]:
    x = np.random.default_rng(7).standard_normal(SHAPE).astype(np.float32)
    result: NDArray[Any] = session.run({"x": x})["out"].copy()
    return result


COMPILED, LOADED = Counter(compile_model=1), Counter(import_model=1)


def test_what_was_compiled_once_is_loaded_and_gives_the_same(
    opening: Opening, cache: EngineCache
) -> None:
    first, how = opening()
    assert (how, cache.graphs()) == (COMPILED, 1)
    again, how = opening()
    assert (how, cache.graphs()) == (LOADED, 1)
    np.testing.assert_array_equal(ran(first), ran(again))
    assert (first.precision, first.computed()) == (again.precision, again.computed())
    assert first.inputs == again.inputs
    again.require_executed()


def test_other_graphs_and_other_ways_to_run_them_are_compiled(
    opening: Opening, cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening()
    other = write_graph(tmp_path / "other.onnx", largest=60)
    for number, (path, how) in enumerate(
        [({"path": other}, {}), ({}, {"batch": 2}), ({}, {"threads": 2})], start=2
    ):
        assert opening(**path, **how)[1] == COMPILED
        assert cache.graphs() == number
    with monkeypatch.context() as patch:
        patch.setattr("openvino.get_version", lambda: "another")
        assert opening()[1] == COMPILED
    assert opening()[1] == LOADED


def test_rewriting_graphs_otherwise_makes_them_anew(
    opening: Opening, cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening()
    source = inspect.getsource
    with monkeypatch.context() as patch:
        patch.setattr(inspect, "getsource", lambda item: source(item) + "# changed")
        assert opening()[1] == COMPILED
    assert cache.graphs() == 2

    def missing(item: object) -> str:
        raise OSError("source code not available")

    monkeypatch.setattr(inspect, "getsource", missing)
    assert opening()[1] == COMPILED
    assert cache.graphs() == 2


@pytest.mark.parametrize("kind", ["fp32", "fp16"])
def test_other_precisions_are_not_kept(opening: Opening, cache: EngineCache, kind: Any) -> None:
    opening(precision=kind)
    assert cache.graphs() == 0


def test_what_is_not_computed_in_int8_is_not_kept(
    opening: Opening, cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.openvino_session.sums_int8_exactly", lambda: False)
    large = write_graph(tmp_path / "large.onnx", largest=127)
    session, how = opening(large)
    assert (session.precision, how, cache.graphs()) == ("fp32", COMPILED, 0)


def test_a_graph_that_openvino_cannot_load_is_compiled_and_replaced(
    opening: Opening, cache: EngineCache
) -> None:
    opening()
    (path,) = (cache.root / "openvino").glob("*.cache")
    CompiledGraphs(cache).save(path.stem, b"no graph at all")
    assert opening()[1] == LOADED + COMPILED
    assert opening()[1] == LOADED


def test_a_graph_that_cannot_be_read_is_one_line(opening: Opening, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"missing.onnx cannot be read \(.*; expected a part"):
        opening(tmp_path / "missing.onnx")
