import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from runtime.errors import BackendError

Write = Callable[..., Path]
Run = Callable[..., Any]
Break = Callable[[Path, Path], None]


pytestmark = pytest.mark.usefixtures("no_gpu")

LANDCOVER = (
    "aerial_landcover.qml",
    "aerial_landcover.tif",
    "aerial_landcover.tif.aux.xml",
    "aerial_landcover.tif.vat.dbf",
)
"""The map, and what a GIS takes with it."""


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny.segx"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*")) if folder.is_dir() else []


def test_a_scene_becomes_a_map_and_a_report(
    segx: Run, scene: Path, bundle: Path, transcript: Run, tmp_path: Path
) -> None:
    result = segx("infer", scene)
    assert result.code == 0, result.err
    transcript("infer", result.out)
    assert result.complaints == []
    assert files(tmp_path / "maps") == [*LANDCOVER, "report.json"]
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["outputs"] == ["maps/aerial_landcover.tif"]
    assert report["segx_version"]
    reason = "no NVIDIA driver"
    assert report["passed_over"] == dict.fromkeys(
        ("tensorrt", "tensorrt-rtx", "onnxruntime-cuda"), reason
    )
    assert report["self_test"]["agreement"] == 1.0
    assert report["self_test"]["skipped"] is False
    assert report["device_ms"] is None


def test_a_skipped_self_test_is_printed_and_stamped(
    segx: Run, scene: Path, bundle: Path, tmp_path: Path
) -> None:
    spoil_golden(bundle)
    refused = segx("infer", scene, "--bundle", bundle, "--backend", "openvino")
    assert refused.code == 1
    (line,) = refused.complaints
    assert line.startswith("segx: tiny with openvino gives the expected class on ")
    assert "--skip-self-test" in line
    assert files(tmp_path / "maps") == []
    result = segx("infer", scene, "--bundle", bundle, "--skip-self-test")
    assert result.code == 0, result.err
    assert "self-test: skipped (asked for)" in result.out
    report = json.loads((tmp_path / "maps" / "report.json").read_text())
    assert report["self_test"]["skipped"] is True
    assert report["self_test"]["agreement"] is None


def spoil_golden(bundle: Path) -> None:
    """Let the bundle expect other classes, as if it were another model's."""
    with np.load(bundle / "golden.npz") as arrays:
        golden = dict(arrays)
    golden["output.classes"] = (golden["output.classes"] + 1) % 13
    np.savez(bundle / "golden.npz", **golden)
    manifest = json.loads((bundle / "manifest.json").read_text())
    digest = hashlib.sha256((bundle / "golden.npz").read_bytes()).hexdigest()
    manifest["files"]["golden.npz"] = digest
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_reasons_that_differ_are_printed_one_per_line(
    segx: Run, scene: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def usable(name: str, cuda: str, **rest: object) -> str:
        if name == "onnxruntime":
            return "CPU"
        what = "the driver" if "tensorrt" in name else "a library"
        raise BackendError(f"{what} is missing; expected it; get it")

    monkeypatch.setattr("runtime.ladder.require_usable", usable)
    result = segx("infer", scene, "--bundle", bundle)
    assert result.code == 0, result.err
    assert result.out.splitlines()[:3] == [
        "backend: onnxruntime on CPU, fp32 (the best that can be used)",
        "passed over: tensorrt, tensorrt-rtx: the driver is missing",
        "passed over: onnxruntime-cuda, openvino: a library is missing",
    ]


def test_the_building_of_engines_is_shown(
    segx: Run, scene: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runtime import ladder

    def slow(opened: Any, request: Any, watch: Any) -> Any:
        watch.note("no engine for this GPU yet")
        watch.on_progress(1, 2, "aerial")
        watch.on_progress(2, 2, "fusion")
        return real(opened, request, watch)

    real = ladder.open_best
    monkeypatch.setattr(ladder, "open_best", slow)
    result = segx("infer", scene, "--bundle", bundle)
    assert result.code == 0, result.err
    assert result.out.splitlines()[0] == "engines: no engine for this GPU yet"
    assert [line.partition(",")[0] for line in result.err.splitlines()[:2]] == [
        "engines: 1/2",
        "engines: 2/2",
    ]


def test_every_output_can_be_asked_for(
    segx: Run, scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    arguments = ["--bundle", tiny_bundle, "--out", "o", "--json", "copy/r.json", "--threads", 1]
    arguments += ["--confidence", "--probabilities", "--backend", "onnxruntime"]
    result = segx("infer", scene / "aerial.tif", "--satellite", scene / "sentinel2", *arguments)
    assert result.code == 0, result.err
    assert files(tmp_path / "o") == [
        "aerial_confidence.tif",
        *LANDCOVER,
        "aerial_probabilities.tif",
        "report.json",
    ]
    assert (tmp_path / "copy" / "r.json").read_text() == (tmp_path / "o/report.json").read_text()
    assert "backend: onnxruntime on CPU, fp32 (asked for)" in result.out
    with rasterio.open(tmp_path / "o" / "aerial_landcover.tif") as dataset:
        assert dataset.tags()["SEGX_VERSION"]


def test_a_model_of_one_input_says_nothing_of_satellites(
    segx: Run, scene: Path, write_bundle: Write, tmp_path: Path
) -> None:
    shutil.rmtree(scene / "sentinel2")
    alone = write_bundle(tmp_path / "alone.segx", satellite=False)
    result = segx("infer", scene, "--bundle", alone)
    assert result.code == 0, result.err
    assert "Sentinel" not in result.out
    assert json.loads((tmp_path / "maps" / "report.json").read_text())["satellite"] is None


def test_an_unverified_bundle_runs_only_when_named_and_says_so(
    segx: Run, scene: Path, write_bundle: Write, tmp_path: Path
) -> None:
    made = write_bundle(tmp_path / "new.segx", verified=False, verdict="never measured")
    refused = segx("infer", scene)
    assert refused.code == 1
    assert refused.complaints == [
        "segx: no verified bundle lies below this folder; expected one made by `segx export`; "
        "name one with --bundle"
    ]
    named = segx("infer", scene, "--bundle", made)
    assert named.code == 0, named.err
    assert "bundle: not verified (never measured)" in named.out


def test_a_toy_refuses_real_imagery(
    segx: Run, scene: Path, write_bundle: Write, tmp_path: Path
) -> None:
    model = {"config": "toy", "parameters": 1, "steps": 1, "toy": True}
    toy = write_bundle(tmp_path / "toy.segx", model=model)
    refused = segx("infer", scene, "--bundle", toy)
    assert (refused.code, len(refused.complaints)) == (1, 1)
    assert "pass --toy-ok" in refused.err
    assert segx("infer", scene, "--bundle", toy, "--toy-ok").code == 0


def ranges(high: float) -> dict[str, Any]:
    """Ranges of the tiny bundle's bands, from 0; reflectance of noise is about 0.3."""
    aerial = ("red", "green", "blue", "nir", "elevation")
    satellite = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
    return {
        "samples": 32,
        "aerial": [{"name": name, "low": 0.0, "high": 255.0} for name in aerial],
        "satellite": [{"name": name, "low": 0.0, "high": high} for name in satellite],
    }


@pytest.mark.parametrize(("high", "share"), [(1.0, 0), (0.1, 100)])
def test_tiles_unlike_calibration_are_counted_and_warned_of(
    segx: Run, scene: Path, write_bundle: Write, tmp_path: Path, high: float, share: int
) -> None:
    made = write_bundle(tmp_path / "new.segx", input_ranges=ranges(high))
    result = segx("infer", scene, "--bundle", made)
    assert result.code == 0, result.err
    drift = json.loads((tmp_path / "maps" / "report.json").read_text())["drift"]
    assert drift["share"] == share / 100
    assert len(drift["bands"]) == (10 if share else 0)
    tiles = drift["tiles_outside"]
    if share:
        assert f"unlike the calibration set: {tiles} of {tiles} tiles, 100% (B02, B03" in result.out
        assert result.complaints == [
            "segx: warning: 100% of the tiles are unlike those that the bundle was calibrated on; "
            "expected 20% at most; check bands and units of the input, or calibrate on such imagery"
        ]
    else:
        assert "unlike the calibration set: 0 of" in result.out
        assert result.complaints == []


# Inputs that cannot be mapped: one line, exit 1, and no map.


def no_series(scene: Path, bundle: Path) -> None:
    shutil.rmtree(scene / "sentinel2")


def empty_series(scene: Path, bundle: Path) -> None:
    for path in (scene / "sentinel2").iterdir():
        with rasterio.open(path, "r+") as dataset:
            dataset.write(np.zeros((10, 40, 40), dtype=np.uint16))


def cut_series(scene: Path, bundle: Path) -> None:
    halve(scene / "sentinel2" / "S2_20210420.tif")


def cut_aerial(scene: Path, bundle: Path) -> None:
    halve(scene / "aerial.tif")


def halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def rewrite(scene: Path, **changes: Any) -> None:
    path = scene / "aerial.tif"
    with rasterio.open(path) as dataset:
        pixels, profile = dataset.read(), dataset.profile
    profile.update(changes)
    pixels = pixels[: profile["count"]].astype(profile["dtype"])
    path.unlink()
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(pixels)


def three_bands(scene: Path, bundle: Path) -> None:
    rewrite(scene, count=3)


def sixteen_bits(scene: Path, bundle: Path) -> None:
    rewrite(scene, dtype="uint16")


def no_crs(scene: Path, bundle: Path) -> None:
    rewrite(scene, crs=None)


def coarse(scene: Path, bundle: Path) -> None:
    rewrite(scene, transform=Affine(0.5, 0, 861_904.6, 0, -0.5, 6_523_377.2))


def elsewhere(scene: Path, bundle: Path) -> None:
    rewrite(scene, transform=Affine(0.2, 0, 200_000.0, 0, -0.2, 6_523_377.2))


def no_input(scene: Path, bundle: Path) -> None:
    shutil.rmtree(scene)


def no_images(scene: Path, bundle: Path) -> None:
    (scene / "aerial.tif").unlink()
    (scene / "labels.tif").unlink()


def text_as_image(scene: Path, bundle: Path) -> None:
    (scene / "aerial.tif").write_text("no image")


def no_bundle(scene: Path, bundle: Path) -> None:
    shutil.rmtree(bundle)


def changed_part(scene: Path, bundle: Path) -> None:
    with (bundle / "fusion.onnx").open("ab") as stream:
        stream.write(b"0")


def manifest_text(scene: Path, bundle: Path) -> None:
    (bundle / "manifest.json").write_text("no JSON")


def later_manifest(scene: Path, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "format_version": "2.0"}))


def out_is_a_file(scene: Path, bundle: Path) -> None:
    (scene.parent / "out").write_text("")


BAD: dict[Break, str] = {
    no_series: "scene/sentinel2 is not there",
    empty_series: "none of the 4 Sentinel-2 dates has data here",
    cut_series: "S2_20210420.tif cannot be",
    cut_aerial: "aerial.tif cannot be",
    three_bands: "aerial.tif holds 3 unnamed bands",
    sixteen_bits: "aerial.tif is uint16",
    no_crs: "aerial.tif has no CRS",
    coarse: "aerial.tif has 0.500 m per pixel",
    elsewhere: "do not overlap",
    no_input: "scene is not there",
    no_images: "scene holds no GeoTIFF",
    text_as_image: "aerial.tif cannot be opened as a raster",
    no_bundle: "tiny.segx has no manifest.json",
    changed_part: "fusion.onnx has sha256",
    manifest_text: "manifest.json cannot be read as JSON",
    later_manifest: "has format_version 2.0",
    out_is_a_file: "out cannot be written",
}


@pytest.mark.parametrize("damage", BAD, ids=lambda damage: damage.__name__)
def test_a_bad_input_is_one_line_and_leaves_no_map(
    damage: Break, segx: Run, scene: Path, bundle: Path, tmp_path: Path
) -> None:
    damage(scene, bundle)
    result = segx("infer", scene, "--bundle", bundle, "--out", "out", "--confidence")
    assert result.code == 1
    (line,) = result.complaints
    assert line.startswith("segx: ")
    assert BAD[damage] in line
    assert line.count(";") >= 2, "found; expected; remedy"
    assert files(tmp_path / "out") == []


def test_engines_where_none_can_run_are_refused_and_not_ignored(
    segx: Run, scene: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.usable.has_nvidia_driver", lambda: False)
    result = segx("infer", scene, "--bundle", bundle, "--engines", "usb", "--trust-engines")
    assert result.code == 1
    (line,) = result.complaints
    assert line.startswith("segx: the engines of usb cannot be run (tensorrt: no NVIDIA driver")
    assert line.endswith("see `segx doctor`, or leave --engines out")
    assert segx("infer", scene, "--bundle", bundle, "--rebuild", "never").code == 0


WRONG = (
    ["--backend", "abacus"],
    ["--threads", "0"],
    ["--zenith"],
    ["--out"],
    ["--cuda", "torch"],
    ["--rebuild", "always"],
    # Options that say nothing to the backend that is named.
    ["--rebuild", "never", "--backend", "openvino"],
    ["--engines", ".", "--backend", "onnxruntime"],
    ["--trust-engines", "--backend", "onnxruntime-cuda"],
    ["--cuda", "pycuda", "--backend", "openvino"],
    ["--threads", "1", "--backend", "tensorrt"],
    ["--threads", "1", "--backend", "tensorrt-rtx"],
)


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_use_exits_2(arguments: list[str], segx: Run, scene: Path, tmp_path: Path) -> None:
    result = segx("infer", scene, *arguments)
    assert result.code == 2
    assert arguments[0] in result.err
    assert not (tmp_path / "maps").exists()


def test_an_input_is_asked_for(segx: Run) -> None:
    assert segx("infer").code == 2
