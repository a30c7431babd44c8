import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

Write = Callable[..., Path]
Run = Callable[..., Any]


pytestmark = pytest.mark.usefixtures("no_gpu")


def test_a_bundle_is_measured_on_a_scene(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, transcript: Run, tmp_path: Path
) -> None:
    result = segx("eval", tiny_bundle, tiny_scene, "--csv", "deep/m.csv", "--json", "e.json")
    assert result.code == 0, result.err
    transcript("eval", result.out)
    assert result.complaints == []
    found = json.loads((tmp_path / "e.json").read_text())
    assert list(found["results"]) == ["scene", "along tile seams"]
    whole = found["results"]["scene"]
    assert set(whole["scores"]) == {"miou", "accuracy", "scored_classes", "pixels", "classes"}
    with (tmp_path / "deep" / "m.csv").open(newline="") as stream:
        head, *rows = list(csv.reader(stream))
    assert head[1:] == [row[0] for row in rows]
    counts = [[int(cell) for cell in row[1:]] for row in rows]
    assert counts == whole["matrix"]
    assert np.sum(counts) == whole["scores"]["pixels"] == 150 * 203


def test_both_backends_measure_the_same(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    found = []
    for backend in ("openvino", "onnxruntime"):
        segx("eval", tiny_bundle, tiny_scene, "--backend", backend, "--json", f"{backend}.json")
        found.append(json.loads((tmp_path / f"{backend}.json").read_text())["results"]["scene"])
    assert found[0]["scores"]["accuracy"] == pytest.approx(found[1]["scores"]["accuracy"], abs=1e-4)


def test_how_it_was_run_is_part_of_the_scores(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    segx("eval", tiny_bundle, tiny_scene, "--json", "e.json")
    ran = json.loads((tmp_path / "e.json").read_text())["execution"]
    assert (ran["backend"], ran["device"], ran["precision"]) == ("openvino", "CPU", "fp32")
    assert ran["passed_over"]["tensorrt"] == "no NVIDIA driver"
    assert ran["self_test"]["agreement"] == 1.0
    result = segx("eval", tiny_bundle, tiny_scene, "--skip-self-test", "--json", "s.json")
    assert "self-test: skipped (asked for)" in result.out
    skipped = json.loads((tmp_path / "s.json").read_text())["execution"]["self_test"]
    assert skipped["skipped"] is True


def test_mirrored_tiles_are_measured_when_asked_for(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    found = {}
    for kind in ("none", "flips"):
        result = segx("eval", tiny_bundle, tiny_scene, "--tta", kind, "--json", f"{kind}.json")
        assert result.code == 0, result.err
        assert ("test-time augmentation: flips" in result.out) == (kind == "flips")
        found[kind] = json.loads((tmp_path / f"{kind}.json").read_text())
        assert found[kind]["execution"]["tta"] == kind
    segx("infer", tiny_scene, "--bundle", tiny_bundle, "--tta", "flips")
    with rasterio.open(tmp_path / "maps" / "aerial_landcover.tif") as dataset:
        predicted = dataset.read(1)
    matrix = np.array(found["flips"]["results"]["scene"]["matrix"])
    np.testing.assert_array_equal(matrix.sum(axis=0), np.bincount(predicted.ravel(), minlength=13))
    assert not np.array_equal(matrix, found["none"]["results"]["scene"]["matrix"])


@pytest.mark.parametrize("option", [("--backend", "openvino"), ("--skip-self-test",)], ids=str)
def test_a_checkpoint_takes_no_options_of_bundles(
    segx: Run, tiny_scene: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    (tmp_path / "run").mkdir()
    result = segx("eval", "run", tiny_scene, *option)
    assert result.code == 1
    (line,) = result.complaints
    assert f"run is a checkpoint, which PyTorch runs, and {option[0]} was given; " in line


def test_options_that_say_nothing_to_the_backend_are_wrong_use(
    segx: Run, tiny_scene: Path, tiny_bundle: Path
) -> None:
    result = segx("eval", tiny_bundle, tiny_scene, "--backend", "openvino", "--cuda", "pycuda")
    assert result.code == 2
    assert "--cuda" in result.err


def test_without_a_file_the_last_line_says_what_to_run_next(
    segx: Run, tiny_scene: Path, tiny_bundle: Path
) -> None:
    result = segx("eval", tiny_bundle, tiny_scene)
    assert result.out.splitlines()[-1] == f"next: segx infer INPUT --bundle {tiny_bundle}"


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("nowhere", "scene", "nowhere is no folder; expected a bundle or a checkpoint folder"),
        ("nowhere.segx", "scene", "nowhere.segx has no manifest.json"),
        ("bundle", "nowhere", "nowhere is no folder; expected a data set"),
        ("bundle", "empty", "empty holds no data set; expected IMG_*.tif (a FLAIR #2 tree), "),
    ],
)
def test_a_model_or_data_set_that_is_not_there_is_one_line(
    model: str,
    data: str,
    message: str,
    segx: Run,
    tiny_scene: Path,
    tiny_bundle: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "empty").mkdir()
    known = {"bundle": tiny_bundle, "scene": tiny_scene}
    result = segx("eval", known.get(model, model), known.get(data, data), "--json", "e.json")
    assert result.code == 1
    (line,) = result.complaints
    assert message in line
    assert line.count(";") >= 2
    assert not (tmp_path / "e.json").exists()


def test_labels_of_another_grid_are_one_line(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, write_aerial: Write, tmp_path: Path
) -> None:
    scene = Path(shutil.copytree(tiny_scene, tmp_path / "scene"))
    write_aerial(scene / "labels.tif", np.ones((1, 150, 200), dtype=np.uint8), bands=())
    result = segx("eval", tiny_bundle, scene)
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "on another grid than the aerial image" in result.err


def test_a_file_that_cannot_be_written_is_one_line(
    segx: Run, tiny_scene: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    result = segx("eval", tiny_bundle, tiny_scene, "--csv", "file/m.csv")
    assert (result.code, len(result.complaints)) == (1, 1)
    assert "file/m.csv cannot be written" in result.err
