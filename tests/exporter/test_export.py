from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from exporter import graph
from exporter.accuracy import EvalData, measure
from exporter.export import export
from exporter.options import ExportOptions
from exporter.receptive import Receptive
from exporter.to_onnx import part_to_onnx
from exporter.watch import Watch
from runtime.bundle import open_bundle
from runtime.errors import BundleError, DataError, ParityError
from runtime.model import golden_feed
from trainkit.checkpoint import Checkpoint

OPTIONS = ExportOptions(segx_version="0.1.0", parity_samples=1)


@pytest.mark.parametrize(("radius", "exact"), [(32, True), (64, False), (None, False)])
def test_the_halo_of_one_input_is_exact_when_it_covers_the_radius(
    radius: int | None,
    exact: bool,
    mini: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick: None,
) -> None:
    sight = Receptive(radius_px=radius, halo_px=32, change_beyond_halo=0.0)
    monkeypatch.setattr("exporter.receptive.measure", lambda *args, **kwargs: sight)
    found = export(mini, tmp_path / "a.segx", OPTIONS)
    assert found.bundle.manifest.aerial.halo_exact is exact


@pytest.fixture
def quick(mini: Checkpoint, graph_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the graphs of the small checkpoint as traced before, and do not simplify them."""
    traced = {path.stem: onnx.load(path) for path in graph_cache.glob("*.onnx")}
    monkeypatch.setattr(graph, "part_to_onnx", lambda part: traced[part.name])
    monkeypatch.setattr("exporter.simplify.FEWEST_NODES", 10_000)


@pytest.fixture(scope="module")
def graph_cache(
    mini: Checkpoint,
    graphs: dict[str, onnx.ModelProto],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Graphs of the small checkpoint; its aerial branch is that of the one with both inputs."""
    folder = tmp_path_factory.mktemp("graphs")
    for part in mini.model.parts():
        traced = graphs["aerial"] if part.role == "aerial" else part_to_onnx(part)
        onnx.save(traced, folder / f"{part.name}.onnx")
    return folder


def test_one_input_needs_no_satellite(mini: Checkpoint, tmp_path: Path, quick: None) -> None:
    found = export(mini, tmp_path / "a.segx", OPTIONS)
    manifest = found.bundle.manifest
    assert manifest.satellite is None
    assert [part.name for part in manifest.parts] == ["aerial", "fusion", "fusion_probabilities"]
    assert found.ledger.source == "random"
    assert manifest.verdict == "no data to measure on"
    assert set(golden_feed(found.bundle)[0]) == {"aerial"}


def test_untrained_weights_are_exported_and_not_measured(
    mini: Checkpoint, tmp_path: Path, quick: None, data: Callable[..., EvalData]
) -> None:
    untrained = replace(mini, info=replace(mini.info, steps={"aerial": 0}))
    found = export(untrained, tmp_path / "a.segx", OPTIONS, data=data())
    assert found.ledger.source == "data"
    assert found.bundle.manifest.accuracy is None
    assert not found.verdict.missed
    assert open_bundle(tmp_path / "a.segx").manifest.verdict == ("untrained weights (aerial)")


def test_a_bundle_that_misses_the_gate_is_written_and_unverified(
    mini: Checkpoint,
    tmp_path: Path,
    quick: None,
    data: Callable[..., EvalData],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def off(*args: Any, **kwargs: Any) -> Any:
        found = measure(*args, **kwargs)
        assert found is not None
        return replace(found, miou=found.reference_miou - 0.001)

    monkeypatch.setattr("exporter.export.measure", off)
    found = export(mini, tmp_path / "a.segx", OPTIONS, data=data())
    assert found.verdict.missed
    manifest = open_bundle(tmp_path / "a.segx").manifest
    assert not manifest.verified
    assert manifest.verdict.startswith("mIoU")


def test_a_fault_writes_nothing_and_keeps_the_bundle_that_is_there(
    mini: Checkpoint,
    tmp_path: Path,
    quick: None,
    graph_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "a.segx"
    export(mini, out, OPTIONS)
    before = open_bundle(out).sha256
    traced = {path.stem: onnx.load(path) for path in graph_cache.glob("*.onnx")}

    def spoilt(part: Any) -> onnx.ModelProto:
        model = traced[part.name]
        if part.name == "aerial":
            for tensor in model.graph.initializer:
                values = onnx.numpy_helper.to_array(tensor)
                if values.dtype == np.float32 and values.ndim == 4:
                    changed = onnx.numpy_helper.from_array(values * np.float32(1.1), tensor.name)
                    tensor.CopyFrom(changed)
        return model

    monkeypatch.setattr(graph, "part_to_onnx", spoilt)
    with pytest.raises(
        ParityError, match=r"part 'aerial' in ONNX Runtime differs from PyTorch on "
    ):
        export(mini, out, OPTIONS)
    assert open_bundle(out).sha256 == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.segx"]


def test_a_wrong_output_name_is_an_error_that_names_the_part(
    mini: Checkpoint,
    tmp_path: Path,
    quick: None,
    graph_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def renamed(part: Any) -> onnx.ModelProto:
        model = onnx.load(graph_cache / f"{part.name}.onnx")
        model.graph.node[-1].output[0] = model.graph.output[0].name = "other"
        return model

    monkeypatch.setattr(graph, "part_to_onnx", renamed)
    text = "part 'aerial' breaks the rule 'interface': other float32.*; expected aerial_logits"
    with pytest.raises(BundleError, match=text):
        export(mini, tmp_path / "a.segx", OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_nan_are_an_error_that_names_the_part(
    mini: Checkpoint, tmp_path: Path, quick: None
) -> None:
    model = type(mini.model)(mini.config)
    with torch.no_grad():
        next(model.unit("aerial").parameters()).fill_(float("nan"))
    broken = replace(mini, model=model.eval())
    with pytest.raises(ParityError, match="part 'aerial' gives NaN or infinity"):
        export(broken, tmp_path / "a.segx", OPTIONS)
    assert list(tmp_path.iterdir()) == []


def test_data_without_the_split_is_refused_before_any_work(
    mini: Checkpoint, tmp_path: Path, data: Callable[..., EvalData]
) -> None:
    with pytest.raises(DataError, match="no split 'test'"):
        export(mini, tmp_path / "a.segx", OPTIONS, data=replace(data(), split="test"))


def test_labels_that_nothing_scores_leave_the_bundle_unverified(
    mini: Checkpoint, tmp_path: Path, quick: None, data: Callable[..., EvalData]
) -> None:
    ignored = data(labels=lambda patch_id: np.full((256, 256), 255, dtype=np.uint8))
    found = export(mini, tmp_path / "a.segx", OPTIONS, data=ignored)
    assert found.verdict.text == "no scored class in fake-data (val)"


def test_every_step_and_patch_is_told(
    mini: Checkpoint, tmp_path: Path, quick: None, data: Callable[..., EvalData]
) -> None:
    steps: list[tuple[int, int, str]] = []
    patches: list[tuple[int, int]] = []
    watch = Watch(
        on_step=lambda done, total, note: steps.append((done, total, note)),
        on_patch=lambda done, total: patches.append((done, total)),
    )
    export(mini, tmp_path / "a.segx", OPTIONS, data=data(), watch=watch)
    assert [done for done, _, _ in steps] == list(range(1, 7))
    assert {total for _, total, _ in steps} == {6}
    assert steps[0][2] == "aerial.onnx written"
    assert patches == [(1, 4), (2, 4), (3, 4), (4, 4)]
