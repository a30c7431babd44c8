"""Tiled inference with a real bundle, on both backends."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from runtime.backends import Backend, BackendChoice, PassedOver
from runtime.bundle import Bundle, open_bundle
from runtime.jsonfile import plain
from runtime.model import open_model
from runtime.output.values import tile_maps
from runtime.pipeline import infer
from runtime.raster import RasterReader
from runtime.scene import Scene, find_scenes
from runtime.selftest import self_test
from runtime.stream.options import InferOptions
from runtime.tally import Tally
from runtime.tiler import TilePlan

Write = Callable[..., Path]
CHOICE = BackendChoice(name="onnxruntime", reason="a test")


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as dataset:
        values: NDArray[np.uint8] = dataset.read()
    return values


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(height).integers(0, 255, (5, height, width), dtype=np.uint8)


@pytest.fixture(scope="module")
def alone(write_bundle: Write, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("alone") / "alone.segx"
    return open_bundle(write_bundle(folder, satellite=False))


@pytest.mark.parametrize("shape", [(65, 64), (97, 33), (101, 131), (64, 89)])
def test_the_tiled_map_is_the_map_of_the_whole_bit_for_bit(
    shape: tuple[int, int],
    alone: Bundle,
    write_bundle: Write,
    write_aerial: Write,
    tmp_path: Path,
) -> None:
    path = write_aerial(tmp_path / "a.tif", noise(*shape))
    spec = alone.manifest.aerial
    side = -(-(max(shape) + 2 * spec.halo) // spec.stride) * spec.stride
    large = open_bundle(write_bundle(tmp_path / "whole.segx", tile=side, satellite=False))
    with RasterReader(path) as reader:
        after = [side - spec.halo - size for size in shape]
        pad = [(0, 0), *((spec.halo, more) for more in after)]
        padded = np.pad(reader.read_all(), pad, mode="reflect")
    whole = tile_maps(open_model(large, CHOICE, threads=1).run({"aerial": padded[None]}))
    inner = np.s_[:, spec.halo : spec.halo + shape[0], spec.halo : spec.halo + shape[1]]
    report = infer(
        [Scene(aerial=path, satellite=None)],
        alone.card,
        open_model(alone, CHOICE, threads=1),
        tmp_path / "maps",
        tally=Tally(CHOICE),
        options=InferOptions(confidence=True),
    )
    assert report.tiles > 1
    for name, text in zip(("classes", "confidence"), report.outputs, strict=True):
        np.testing.assert_array_equal(read(Path(text)), whole[name][inner])


def hide(kind: str, path: Path, hidden: NDArray[np.bool_]) -> None:
    """Mark pixels of a written raster as nodata, changing nothing else."""
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as dataset:
        if kind == "nodata":
            dataset.nodata = 0
        else:
            dataset.write_mask(~hidden)


@pytest.mark.parametrize("kind", ["nodata", "mask"])
def test_nodata_pixels_become_nodata_and_change_no_other(
    kind: str, tiny_bundle: Path, write_aerial: Write, tiny_scene: Path, tmp_path: Path
) -> None:
    opened = open_bundle(tiny_bundle)
    pixels = noise(70, 83)
    pixels[pixels == 0] = 1
    hidden = np.zeros((70, 83), dtype=np.bool_)
    hidden[20:41, 10:30] = hidden[0, 0] = hidden[-1, :] = True
    pixels[:, hidden] = 0
    found = {}
    for name in ("whole", kind):
        path = write_aerial(tmp_path / name / "a.tif", pixels)
        if name != "whole":
            hide(kind, path, hidden)
        scenes = find_scenes(path, tiny_scene / "sentinel2", needs_satellite=True)
        out = tmp_path / name / "maps"
        infer(
            scenes,
            opened.card,
            open_model(opened, CHOICE, variant="probabilities", threads=1),
            out,
            tally=Tally(CHOICE),
            options=InferOptions(confidence=True, probabilities=True),
        )
        found[name] = np.concatenate([read(file) for file in sorted(out.glob("*.tif"))])
    assert found["whole"].shape == (15, 70, 83)
    assert (found["whole"] < 255).all()
    assert (found[kind][:, hidden] == 255).all()
    np.testing.assert_array_equal(found[kind][:, ~hidden], found["whole"][:, ~hidden])


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_probabilities_confidence_and_classes_agree(
    backend: Backend, tiny_bundle: Path, tiny_scene: Path, tmp_path: Path
) -> None:
    opened = open_bundle(tiny_bundle)
    choice = BackendChoice(name=backend, reason="a test")
    scenes = find_scenes(tiny_scene, None, needs_satellite=True)
    wanted = {
        "classes": InferOptions(confidence=True),
        "probabilities": InferOptions(confidence=True, probabilities=True),
    }
    found = {}
    for variant, options in wanted.items():
        model = open_model(opened, choice, variant=variant, threads=1)  # type: ignore[arg-type]
        out = tmp_path / variant
        infer(scenes, opened.card, model, out, tally=Tally(choice), options=options)
        found[variant] = {path.stem.split("_")[-1]: read(path) for path in out.glob("*.tif")}
    one, both = found["classes"], found["probabilities"]
    assert set(both) == {"landcover", "confidence", "probabilities"}
    np.testing.assert_array_equal(one["landcover"], both["landcover"])
    np.testing.assert_allclose(one["confidence"], both["confidence"], atol=1)
    winner = np.take_along_axis(both["probabilities"], both["landcover"].astype(np.intp), axis=0)
    np.testing.assert_array_equal(winner, both["probabilities"].max(axis=0)[None])
    np.testing.assert_array_equal(winner, both["confidence"])
    assert len(np.unique(both["landcover"])) > 5, "the test shows something"


def test_both_backends_make_one_map(tiny_bundle: Path, tiny_scene: Path, tmp_path: Path) -> None:
    opened = open_bundle(tiny_bundle)
    scenes = find_scenes(tiny_scene, None, needs_satellite=True)
    found = []
    for backend in ("openvino", "onnxruntime"):
        choice = BackendChoice(name=backend, reason="a test")
        model = open_model(opened, choice, threads=1)
        out = tmp_path / backend
        infer(scenes, opened.card, model, out, tally=Tally(choice), options=InferOptions())
        found.append(read(out / "aerial_landcover.tif"))
    assert (found[0] == found[1]).mean() > 0.9999


STAGES = {"read", "prepare", "infer", "write", "finish"}
KEYS = {
    "segx_version": None,
    "bundle": {"name", "sha256"},
    "backend": None,
    "device": None,
    "precision": None,
    "wall_s": None,
    "cold_start_s": None,
    "stages_s": STAGES,
    "tiles": None,
    "pixels": None,
    "area_km2": None,
    "mpx_per_s": None,
    "km2_per_h": None,
    "peak_rss_mib": None,
    "latency_ms": {"mean", "p50", "p90", "p95", "p99"},
    "satellite": {
        "dates_total",
        "dates_used",
        "encoder_runs",
        "policy",
        "tiles_clear",
        "tiles_covered",
        "tiles_aerial_only",
        "date_gap_days",
        "lattice_agreement",
        "offsets",
    },
    "outputs": None,
    "drift": None,
    "passed_over": {"tensorrt"},
    "self_test": {"skipped", "agreement", "decided", "confidence_difference", "seconds"},
    "device_ms": None,
    "waiting_s": STAGES,
    "bound_by": None,
    "model_share": None,
    "efficiency": None,
    "energy": None,
    "damaged": None,
    "seams": {"share", "pixels"},
    "plan": {
        "tile_size",
        "halo",
        "halo_exact",
        "stride",
        "lattice_px",
        "strips",
        "batch",
        "recompute",
        "blend",
        "tta",
        "runs_per_tile",
    },
    "resumed": None,
    "tiles_skipped": None,
    "memory": {"limit_mib", "planned_mib"},
    "fit": {"resampled", "bands", "elevation", "scaling", "crs", "satellite_bands", "substituted"},
    "vectorize_s": None,
    "shard": None,
    "shards": None,
    "run": None,
}


def test_the_report_holds_what_the_contract_says(
    tiny_bundle: Path, tiny_scene: Path, tmp_path: Path
) -> None:
    opened = open_bundle(tiny_bundle)
    seen: list[tuple[int, int]] = []
    passed = PassedOver(name="tensorrt", reason="no NVIDIA driver")
    model = open_model(opened, CHOICE, threads=1)
    tally = Tally(
        dataclasses.replace(CHOICE, passed_over=(passed,)),
        self_test=self_test(model, opened, "onnxruntime"),
        timed=model,
    )
    report = infer(
        find_scenes(tiny_scene, None, needs_satellite=True),
        opened.card,
        model,
        tmp_path,
        tally=tally,
        options=InferOptions(segx_version="1.2"),
        on_tile=lambda done, total: seen.append((done, total)),
    )
    content = json.loads(json.dumps(plain(report)))
    assert set(content) == set(KEYS)
    for key, names in KEYS.items():
        assert names is None or set(content[key]) == names, key
    tiles = len(TilePlan(shape=(150, 203), size=64, halo=16))
    assert seen == [(done, tiles) for done in range(1, tiles + 1)]
    assert content["bundle"] == {"name": "tiny", "sha256": opened.sha256}
    assert (content["backend"], content["device"]) == ("onnxruntime", "CPU")
    assert (content["tiles"], content["pixels"]) == (tiles, 150 * 203)
    assert content["outputs"] == [str(tmp_path / "aerial_landcover.tif")]
    for stage in STAGES:
        waited = sum(content["waiting_s"][stage].values())
        assert 0 < content["stages_s"][stage] + waited <= content["wall_s"]
    assert 0 < content["cold_start_s"] < content["wall_s"]
    assert content["satellite"]["dates_total"] == 4
    assert content["satellite"]["encoder_runs"] == tiles
    assert content["drift"] is None  # the bundle has no ranges of its inputs
    assert content["passed_over"] == {"tensorrt": "no NVIDIA driver"}
    assert content["self_test"]["agreement"] == 1.0
    assert content["self_test"]["skipped"] is False
    assert content["device_ms"] is None
    mean = content["latency_ms"]["mean"]
    assert 0 < mean * tiles / 1e3 <= content["stages_s"]["infer"]
    assert content["mpx_per_s"] == pytest.approx(150 * 203 / content["wall_s"] / 1e6)
    area = 150 * 203 * 0.04 / 1e6
    assert content["km2_per_h"] == pytest.approx(area / content["wall_s"] * 3600)
