"""What a bundle says of its making, in names that are not to be trusted."""

import hashlib
import json
from pathlib import Path
from typing import Any

HOSTILE = "<script>alert(1)<script>"
"""Without a slash, which no name of a bundle may have."""
IOU = {"building": 0.5, "water": 0.9, "<img src=http://x.example/a>": 0.25}


def gate() -> dict[str, Any]:
    """A gate that a bundle has missed."""
    classes = [
        {"name": name, "scored": True, "reference_iou": iou, "iou": iou - 0.01, "share": 0.1}
        for name, iou in IOU.items()
    ]
    checks: list[dict[str, Any]] = [
        {"name": "mIoU loss", "unit": "points", "found": 1.0, "limit": "at most", "budget": 0.5},
        {"name": "agreement", "unit": "%", "found": None, "limit": "at least", "budget": None},
    ]
    verdicts: list[dict[str, Any]] = [{"passed": False, "note": "'\"><b>"}, {"passed": None}]
    return {
        "dataset": "</title><script>",
        "split": "val",
        "patches": 12,
        "reference_miou": 0.55,
        "single_mious": {"aerial": 0.5},
        "text": "out of <i>budget</i>",
        "candidates": [
            {
                "name": "emulation",
                "executed": "int8 emulated",
                "miou": 0.54,
                "classes": classes,
                "checks": [c | v for c, v in zip(checks, verdicts, strict=True)],
            }
        ],
    }


def parity() -> dict[str, Any]:
    """Parity of one stage."""
    close = {"max_abs": 1e-5, "mean_abs": 1e-6, "cosine": 1.0, "argmax": 1.0, "scale": 5.0}
    same = {"max_abs": 0.0, "mean_abs": 0.0, "cosine": 1.0, "argmax": None, "scale": 0.0}
    rows = [
        {"part": "aerial", "sample": "a", "agreement": close, "misses": ["cosine 0.5"]},
        {"part": "fusion", "sample": "a", "agreement": same, "misses": []},
    ]
    stage = {
        "reference": "PyTorch",
        "candidate": "ONNX Runtime",
        "tolerance": {"max_abs": 5e-3, "mean_abs": 1e-4, "cosine": 0.9999, "argmax": 0.999},
        "rows": rows,
    }
    return {"source": "data", "samples": ["a", "b"], "stages": [stage], "before": []}


def calibration() -> dict[str, Any]:
    """Calibration on two samples, none of which shows water."""
    coverage = {
        "pool": 9,
        "surveyed": 9,
        "classes": {"building": {"pick": 0.2, "pool": 0.3}, "water": {"pick": 0.0, "pool": 0.1}},
        "areas": {"Z1": 2},
        "cloudiness": {"clear": 1, "mixed": 1, "cloudy": 0},
    }
    chosen = {"dataset": "d", "split": "train", "ids": ["a", "b"], "coverage": coverage}
    return {"selection": chosen, "method": "entropy"}


Files = dict[str, dict[str, Any]]


def put_files(folder: Path, files: Files, put: tuple[str, str] = ("", "")) -> Path:
    """Add JSON files to a bundle, one text in them replaced, and their hashes to its manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content).replace(*put, 1))
        manifest["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder
