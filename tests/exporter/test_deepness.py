"""One ONNX file for Deepness: what it documents is in it, and it maps as the bundle does."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from exporter.deepness import deepness_metadata, write_deepness
from exporter.merge import merge
from exporter.merge_graph import merge_graphs
from runtime.backends import BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import BundleError, ParityError
from runtime.manifest import parse_manifest
from runtime.model import open_model

Write = Callable[..., Path]


class Deepness:
    """What the plug-in does with a segmentation model, by its documentation and its code."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        texts = self.session.get_modelmeta().custom_metadata_map
        self.said = {key: json.loads(text) for key, text in texts.items() if "segx." not in key}
        (self.input,) = self.session.get_inputs()
        (self.output,) = self.session.get_outputs()

    def map(self, tiles: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Class of each pixel, shape (N, S, S), of tiles of shape (N, S, S, C)."""
        mean, std = (
            np.array(self.said[f"standardization_{name}"], np.float32) for name in ("mean", "std")
        )
        pixels = (np.float32(tiles * 1.0 / 255.0) - mean) / std
        feed = {self.input.name: np.transpose(pixels, (0, 3, 1, 2))}
        (scores,) = self.session.run(None, feed)
        scores[scores < self.said["seg_thresh"]] = 0.0
        found: NDArray[np.int64] = scores.argmax(axis=1)
        return found


@pytest.fixture(scope="module")
def alone(write_bundle: Write, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle of one input; read it, do not change it."""
    return open_bundle(write_bundle(tmp_path_factory.mktemp("one") / "one.segx", satellite=False))


@pytest.fixture(scope="module")
def written(alone: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that is made of it."""
    path = tmp_path_factory.mktemp("deepness") / "deep" / "one.onnx"
    write_deepness(alone, path, segx_version="0.1.0")
    return path


def test_any_tiles_are_mapped_as_by_the_bundle(alone: Bundle, written: Path) -> None:
    tiles = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 5), dtype=np.uint8)
    tiles[0].flat[:256] = range(256)
    model = open_model(alone, BackendChoice(name="onnxruntime", reason="for this test"), batch=3)
    expected = model.run({"aerial": np.ascontiguousarray(np.moveaxis(tiles, -1, 1))})["classes"]
    found = Deepness(written).map(tiles)
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 3


def test_every_stored_value_comes_back_from_a_share() -> None:
    values = np.arange(256, dtype=np.uint8)
    for share in (np.float32(values * 1.0 / 255.0), values.astype(np.float32) / np.float32(255)):
        assert np.array_equal(np.rint(share * np.float32(255)), values)


def test_the_documented_keys_say_what_the_manifest_says(alone: Bundle, written: Path) -> None:
    said, manifest = Deepness(written).said, alone.manifest
    assert said == {
        "model_type": "Segmentor",
        "class_names": {str(k): item.name for k, item in enumerate(manifest.classes)},
        "resolution": 20.0,
        "tiles_size": 64,
        "tile_size": 64,
        "tiles_overlap": 50,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        "standardization_mean": [0.0] * 5,
        "standardization_std": [1.0] * 5,
    }


def test_the_file_has_the_form_that_the_plugin_and_its_library_take(
    alone: Bundle, written: Path
) -> None:
    opened, model = Deepness(written), onnx.load(written)
    assert (opened.input.type, opened.input.shape) == ("tensor(float)", ["N", 5, 64, 64])
    assert opened.output.shape == ["N", len(alone.manifest.classes), 64, 64]
    assert model.ir_version <= 9
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 20)]
    props = {item.key: item.value for item in model.metadata_props}
    assert props["segx.bundle_sha256"] == alone.sha256


@given(st.integers(1, 64), st.data())
def test_the_overlap_covers_the_halo_and_little_more(stride: int, data: st.DataObject) -> None:
    tile = stride * data.draw(st.integers(3, 32))
    halo = stride * data.draw(st.integers(0, (tile // stride - 1) // 2))
    manifest = json.loads(json.dumps(MANIFEST)) | {"aerial": aerial(tile, halo, stride)}
    manifest["parts"][0]["outputs"] = [
        {"name": name, "dtype": "uint8", "shape": ["N", tile, tile]}
        for name in ("classes", "confidence")
    ]
    share = json.loads(deepness_metadata(parse_manifest(manifest, where="it"))["tiles_overlap"])
    overlap = int(tile * share / 100 * 2) // 2
    cut = (tile - (tile - overlap)) // 2
    assert halo <= cut <= halo + tile / 200 + 1


def aerial(tile: int, halo: int, stride: int) -> dict[str, Any]:
    return {
        "bands": ["red"],
        "resolution_m": 0.25,
        "tile_size": tile,
        "halo": halo,
        "stride": stride,
        "halo_exact": True,
        "normalization": {"mean": [0.0], "std": [1.0]},
    }


MANIFEST = {
    "format_version": "1.2",
    "name": "it",
    "created": "2026-01-02T03:04:05+00:00",
    "segx_version": "0.1.0",
    "model": {"config": "it", "parameters": 1, "steps": 1},
    "precision": "fp32",
    "parts": [
        {
            "name": "all",
            "role": "fusion",
            "file": "all.onnx",
            "precision": "fp32",
            "inputs": [],
            "outputs": [],
            "variant": "classes",
        }
    ],
    "satellite": None,
    "classes": [{"name": "one", "color": "#000000"}],
    "files": {"all.onnx": ""},
    "verified": False,
    "verdict": "",
}


def test_a_merged_bundle_gives_the_same_file_but_for_names(
    alone: Bundle, written: Path, write_bundle: Write, tmp_path: Path
) -> None:
    path = write_bundle(tmp_path / "one.segx", satellite=False)
    ledger = {"source": "random", "samples": [], "stages": []}
    (path / "parity.json").write_text(json.dumps(ledger))
    made = merge(open_bundle(path), tmp_path / "merged.segx", segx_version="0.1.0").bundle
    write_deepness(made, tmp_path / "merged.onnx", segx_version="0.1.0")
    tiles = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 5), dtype=np.uint8)
    merged = Deepness(tmp_path / "merged.onnx")
    assert np.array_equal(merged.map(tiles), Deepness(written).map(tiles))


def test_a_model_of_two_inputs_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "two.onnx"
    with pytest.raises(BundleError, match="takes an aerial image and Sentinel-2; expected a model"):
        write_deepness(open_bundle(tiny_bundle), path, segx_version="0.1.0")
    assert not path.exists()


def test_a_bundle_without_probabilities_is_refused(
    write_bundle: Write, alone: Bundle, tmp_path: Path
) -> None:
    parts = json.loads((alone.path / "manifest.json").read_text())["parts"]
    path = write_bundle(tmp_path / "one.segx", satellite=False, parts=parts[:-1])
    with pytest.raises(BundleError, match="has no part that ends in probabilities"):
        write_deepness(open_bundle(path), tmp_path / "one.onnx", segx_version="0.1.0")


def test_a_file_that_gives_other_numbers_is_not_written(
    alone: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worse(*given: Any) -> onnx.ModelProto:
        model = merge_graphs(*given)
        for weights in model.graph.initializer:
            values = onnx.numpy_helper.to_array(weights) * np.float32(1.5)
            weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        return model

    monkeypatch.setattr("exporter.deepness.merge_graphs", worse)
    with pytest.raises(ParityError, match=r"other numbers than .*; expected the same; export"):
        write_deepness(alone, tmp_path / "one.onnx", segx_version="0.1.0")
    assert list(tmp_path.iterdir()) == []
