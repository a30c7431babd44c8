import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from exporter.simplify import FEWEST_NODES, simplify
from runtime.manifest import PartSpec, TensorSpec

SPEC = PartSpec(
    name="aerial",
    role="aerial",
    file="aerial.onnx",
    precision="fp32",
    inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3, 4, 4)),),
    outputs=(TensorSpec(name="out", dtype="float32", shape=("N", 3, 4, 4)),),
)
COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"
CHANGED = """
import sys, onnx
model = onnx.load(sys.argv[1])
{change}
onnx.save(model, sys.argv[2])
"""


def chain(length: int) -> onnx.ModelProto:
    """A graph of additions, with a subgraph of constants that can be computed ahead."""
    lines = ["v0 = Identity (x)"]
    lines += [f"v{i + 1} = Add (v{i}, c)" for i in range(length)]
    lines += ["c2 = Mul (c, c)", f"out = Mul (v{length}, c2)"]
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N,3,4,4] x) => (float[N,3,4,4] out) {'
        + "\n".join(lines)
        + "}"
    )
    values = np.array([0.5, 1.5, 2.5], dtype=np.float32).reshape(3, 1, 1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(values, "c"))
    return model


@pytest.fixture
def model() -> onnx.ModelProto:
    return chain(FEWEST_NODES)


@pytest.fixture
def feed() -> dict[str, NDArray[Any]]:
    return {"x": np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)}


def test_a_real_simplifier_removes_nodes(
    model: onnx.ModelProto, feed: dict[str, NDArray[Any]]
) -> None:
    found = simplify(model, SPEC, feed)
    assert found.is_simplified
    assert (
        found.note == f"simplified, {len(model.graph.node)} to {len(found.model.graph.node)} nodes"
    )
    assert len(found.model.graph.node) < len(model.graph.node)


def test_a_small_graph_is_left_alone(feed: dict[str, NDArray[Any]]) -> None:
    small = chain(3)
    found = simplify(small, SPEC, feed, command=["does-not-exist"])
    assert (found.is_simplified, found.note) == (False, "left as it is: 6 nodes")


FAULTS = {
    "kills itself": (
        "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
        "ended with signal 11",
    ),
    "aborts": ("import os; os.abort()", "ended with signal 6"),
    "raises": (
        "raise MemoryError('folded too much')",
        "ended with code 1: MemoryError: folded too",
    ),
    "hangs": ("import time; time.sleep(600)", "took more than 2 s"),
    "gives nothing": ("", "gave no result"),
    "gives garbage": ("import sys; open(sys.argv[2], 'wb').write(b'garbage' * 99)", "is not valid"),
    "gives an invalid graph": (
        CHANGED.format(change="del model.graph.node[5]"),
        "is not valid",
    ),
    "gives a graph that cannot be run": (
        CHANGED.format(change="model.graph.node[3].domain = 'made.up'"),
        "is not valid",
    ),
    "gives other numbers": (
        CHANGED.format(change="model.graph.node[5].op_type = 'Mul'"),
        "differs (largest difference",
    ),
    "renames an output": (
        CHANGED.format(
            change="model.graph.output[0].name = 'other'; model.graph.node[-1].output[0] = 'other'"
        ),
        "has other inputs or outputs",
    ),
    "fixes the batch": (
        CHANGED.format(change="model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1"),
        "has other inputs or outputs",
    ),
    "folds constants into megabytes": (
        "import sys; open(sys.argv[2], 'wb').write(bytes(12 << 20))",
        "has 12 MiB",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_simplifier_that_fails_leaves_the_graph_as_it_was(
    fault: str,
    model: onnx.ModelProto,
    feed: dict[str, NDArray[Any]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    code, reason = FAULTS[fault]
    script = tmp_path / "simplifier.py"
    script.write_text(code)
    before = model.SerializeToString()
    limit = 2.0 if fault == "hangs" else 60.0
    with caplog.at_level(logging.WARNING):
        found = simplify(
            model, SPEC, feed, command=[sys.executable, str(script)], time_limit_s=limit
        )
    assert not found.is_simplified
    assert found.model.SerializeToString() == before
    assert found.note.startswith("not simplified: it")
    assert reason in found.note
    assert "part aerial is not simplified" in caplog.text


def test_a_simplifier_that_cannot_be_started_leaves_the_graph_as_it_was(
    model: onnx.ModelProto, feed: dict[str, NDArray[Any]]
) -> None:
    found = simplify(model, SPEC, feed, command=["/does/not/exist"])
    assert not found.is_simplified
    assert "cannot be started" in found.note


def test_a_simplifier_that_changes_nothing_is_believed(
    model: onnx.ModelProto, feed: dict[str, NDArray[Any]], tmp_path: Path
) -> None:
    script = tmp_path / "copy.py"
    script.write_text(COPY)
    assert simplify(model, SPEC, feed, command=[sys.executable, str(script)]).is_simplified
