import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from exporter.export import Exported
from exporter.parity import (
    TOLERANCES,
    WHOLE,
    Ledger,
    Row,
    Stage,
    agree,
    compare,
    misses,
    require,
)
from exporter.runners import SessionRunner, files_in, torch_runner
from exporter.samples import choose_samples, random_feed
from runtime.errors import ParityError
from runtime.manifest import PartSpec
from trainkit.checkpoint import Checkpoint

FP32 = TOLERANCES["fp32"]


def logits(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, 5, 16, 16)).astype(np.float32) * 8


def test_a_result_agrees_with_itself() -> None:
    found = agree({"z_logits": logits()}, {"z_logits": logits()})
    assert (found.max_abs, found.mean_abs, found.argmax) == (0.0, 0.0, 1.0)
    assert found.cosine == pytest.approx(1.0)
    assert found.scale == np.abs(logits()).max()
    assert misses(found, FP32) == ()


def test_the_numbers_are_those_of_the_difference() -> None:
    reference = np.zeros((1, 2, 1, 4), dtype=np.float32)
    reference[0, 0] = 2.0
    candidate = reference.copy()
    candidate[0, 1, 0, 3] = 4.0
    found = agree({"z_logits": reference}, {"z_logits": candidate})
    assert (found.max_abs, found.mean_abs, found.argmax, found.scale) == (4.0, 0.5, 0.75, 2.0)
    assert found.cosine == pytest.approx(16 / (4 * np.sqrt(32)))


def test_features_have_no_winning_class() -> None:
    reference, candidate = logits(), logits()[:, ::-1]
    found = agree({"aerial_high": reference}, {"aerial_high": candidate})
    assert found.argmax is None
    assert not any("same class" in miss for miss in misses(found, FP32))


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (lambda z: z + np.where(np.arange(z.size).reshape(z.shape) == 7, 1.0, 0.0), "largest"),
        (lambda z: z + 0.01, "mean"),
        (lambda z: z * 0.0, "cosine"),
        (lambda z: z[:, ::-1], "same class"),
        (lambda z: np.where(np.arange(z.size).reshape(z.shape) == 7, np.nan, z), "largest"),
    ],
)
def test_each_kind_of_difference_is_missed(
    change: Callable[[NDArray[Any]], NDArray[Any]], missed: str
) -> None:
    found = misses(agree({"z_logits": logits()}, {"z_logits": change(logits())}), FP32)
    assert any(text.startswith(missed) for text in found)
    assert all("allowed" in text for text in found)


def test_differences_are_judged_against_the_size_of_the_numbers() -> None:
    small = misses(agree({"z": logits()}, {"z": logits() + 0.02}), FP32)
    large = misses(agree({"z": logits() * 100}, {"z": logits() * 100 + 0.02}), FP32)
    assert small
    assert not large


def test_confidence_may_be_rounded_to_the_next_step_and_no_further() -> None:
    classes = np.zeros((1, 8, 8), dtype=np.uint8)
    reference = np.full((1, 100, 100), 200, dtype=np.uint8)
    for step, allowed in ((1, True), (2, False)):
        candidate = reference.copy()
        candidate[0, 0, 0] += step
        found = agree(
            {"classes": classes, "confidence": reference},
            {"classes": classes, "confidence": candidate},
        )
        assert (misses(found, FP32) == ()) is allowed


def test_zeros_agree_with_zeros() -> None:
    zeros = {"z_logits": np.zeros((1, 2, 3, 3), dtype=np.float32)}
    assert misses(agree(zeros, zeros), FP32) == ()


def row(part: str, *missed: str) -> Row:
    return Row(
        part=part, sample="a", agreement=agree({"z": logits()}, {"z": logits()}), misses=missed
    )


def ledger(*rows: Row) -> Ledger:
    stage = Stage(reference="before", candidate="after", tolerance=FP32, rows=rows)
    return Ledger(source="data", samples=("a",), stages=(stage,))


def test_the_error_names_part_stages_sample_found_and_allowed() -> None:
    text = (
        "part 'aerial' in after differs from before on sample a: cosine 0.5, allowed >= 0.9; "
        "so do satellite; nothing was written; export again, and with another version of torch"
    )
    faults = ledger(row("aerial", "cosine 0.5, allowed >= 0.9"), row("satellite", "x"), row(WHOLE))
    with pytest.raises(ParityError, match=text):
        require(faults)
    with pytest.raises(ParityError, match=r"nothing was written; take other samples$"):
        require(faults, "take other samples")


def test_the_whole_is_blamed_only_when_no_part_is() -> None:
    both = ledger(row("aerial", "x"), row(WHOLE, "y"))
    assert [found.part for _, found in both.faults] == ["aerial"]
    assert [found.part for _, found in ledger(row(WHOLE, "y")).faults] == [WHOLE]
    require(ledger(row("aerial"), row(WHOLE)))


def faulty(exported: Exported, folder: Path, part: str, fault: Callable[[Any], None]) -> Path:
    """Copy a bundle's files and spoil one part."""
    shutil.copytree(exported.bundle.path, folder)
    model = onnx.load(folder / f"{part}.onnx")
    fault(model)
    onnx.save(model, folder / f"{part}.onnx")
    return folder


def weights(model: onnx.ModelProto) -> onnx.TensorProto:
    """Weights of the first convolution, else the largest ones."""
    tensors: dict[str, onnx.TensorProto] = {item.name: item for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Conv":
            return tensors[node.input[1]]
    return max(tensors.values(), key=lambda item: len(item.raw_data))


def perturb(model: onnx.ModelProto) -> None:
    """Change one number among thousands."""
    tensor = weights(model)
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[values.size // 2] += 3.0
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def poison(model: onnx.ModelProto) -> None:
    tensor = weights(model)
    values = onnx.numpy_helper.to_array(tensor) * np.float32(np.nan)
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def compared(checkpoint: Checkpoint, exported: Exported, folder: Path) -> Stage:
    parts, specs = checkpoint.model.parts(), exported.bundle.manifest.parts
    samples = choose_samples(parts, checkpoint.card, None, 2)
    session = SessionRunner("onnxruntime", files_in(folder, specs), specs)
    return compare(
        specs, samples.feeds, ("PyTorch", torch_runner(parts)), ("ONNX Runtime", session)
    )


REST = pytest.mark.matrix
"""Of the table of parts and faults, each row and column is left once in the default run."""


@pytest.mark.parametrize(
    ("part", "fault"),
    [
        ("aerial", poison),
        ("satellite", perturb),
        ("fusion", poison),
        ("fusion_probabilities", perturb),
        pytest.param("aerial", perturb, marks=REST),
        pytest.param("satellite", poison, marks=REST),
        pytest.param("fusion", perturb, marks=REST),
        pytest.param("fusion_probabilities", poison, marks=REST),
    ],
)
def test_a_planted_fault_is_blamed_on_its_part_alone(
    part: str,
    fault: Callable[[Any], None],
    checkpoint: Checkpoint,
    exported: Exported,
    tmp_path: Path,
) -> None:
    stage = compared(checkpoint, exported, faulty(exported, tmp_path / "spoilt", part, fault))
    found = Ledger(source="random", samples=("random 0",), stages=(stage,))
    assert [row.part for _, row in found.faults] == [part]
    with pytest.raises(ParityError, match=f"part '{part}' in ONNX Runtime differs from PyTorch"):
        require(found)


def test_a_fault_in_a_branch_reaches_the_whole(
    checkpoint: Checkpoint, exported: Exported, tmp_path: Path
) -> None:
    stage = compared(checkpoint, exported, faulty(exported, tmp_path / "spoilt", "aerial", poison))
    rows = {row.part: row for row in stage.rows}
    assert rows[WHOLE].misses
    assert not rows["fusion"].misses


def test_nan_in_the_reference_is_an_error_of_its_own() -> None:
    spec = PartSpec(
        name="aerial", role="aerial", file="a.onnx", precision="fp32", inputs=(), outputs=()
    )
    spec = replace(spec, outputs=(_tensor("aerial_logits"),))

    def broken(name: str, feed: Any) -> dict[str, NDArray[Any]]:
        return {"aerial_logits": logits() * np.float32(np.nan)}

    with pytest.raises(
        ParityError, match="'aerial' gives NaN or infinity as aerial_logits in torch"
    ):
        compare([spec], {"s1": {}}, ("torch", broken), ("onnx", broken))


def _tensor(name: str) -> Any:
    from runtime.manifest import TensorSpec

    return TensorSpec(name=name, dtype="float32", shape=("N", 5, 16, 16))


def test_a_batch_of_two_is_two_batches_of_one(checkpoint: Checkpoint, exported: Exported) -> None:
    import onnxruntime

    feed = random_feed(checkpoint.model.parts(), batch=2, seed=5)
    for part in exported.bundle.manifest.parts[:2]:
        session = onnxruntime.InferenceSession(exported.bundle.file(part))
        inputs = {spec.name: feed[spec.name] for spec in part.inputs}
        both = session.run(None, inputs)[0]
        single = [
            session.run(None, {name: array[i : i + 1] for name, array in inputs.items()})[0]
            for i in range(2)
        ]
        np.testing.assert_allclose(both, np.concatenate(single), atol=1e-5)
