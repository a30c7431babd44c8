import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

Write = Callable[..., Path]
Run = Callable[..., Any]


def test_a_bundle_is_shown(segx: Run, tiny_bundle: Path, transcript: Run, tmp_path: Path) -> None:
    result = segx("inspect", tiny_bundle, "--json", "m.json")
    assert (result.code, result.err) == (0, "")
    transcript("inspect", result.out)
    manifest = json.loads((tiny_bundle / "manifest.json").read_text())
    found = json.loads((tmp_path / "m.json").read_text())
    for key in ("name", "parts", "files", "classes"):
        assert found[key] == manifest[key]


def test_measured_accuracy_is_shown(segx: Run, write_bundle: Write, tmp_path: Path) -> None:
    accuracy = {
        "dataset": "flair2",
        "split": "val",
        "patches": 16,
        "miou": 0.5,
        "accuracy": 0.75,
        "scored_classes": 1,
        "iou": {"building": 0.5},
        "reference_miou": 0.51,
    }
    made = write_bundle(tmp_path / "b.segx", satellite=False, accuracy=accuracy, verified=False)
    result = segx("inspect", made)
    assert result.code == 0
    assert "mIoU 50.00 % over 1 classes on 16 patches of flair2 (val); checkpoint 51.00 %" in (
        result.out
    )
    assert "verified: no (made for tests)" in result.out
    assert "satellite:" not in result.out
    assert result.out.splitlines()[-1] == f"next: segx infer INPUT --bundle {made}"


def test_a_damaged_bundle_is_one_line(segx: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_bundle, tmp_path / "b.segx"))
    (copy / "aerial.onnx").write_bytes(b"")
    result = segx("inspect", copy, "--json", "m.json")
    assert (result.code, result.out, len(result.complaints)) == (1, "", 1)
    assert "aerial.onnx has sha256 e3b0c44298fc...; expected" in result.err
    assert not (tmp_path / "m.json").exists()
