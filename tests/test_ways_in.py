"""Files are read where what they may hold is checked, and by nobody else.

Whoever calls a library's reader in another place routes it through the module that checks, or says
here why nothing from elsewhere is read.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("runtime", "calibration", "exporter", "trainkit", "segx")

OWN = "what this run or its child wrote"
CHECKED = "a part of a bundle, which was looked through when it was opened"

READERS: dict[str, dict[str, str]] = {
    "rasterio.open": {
        "runtime/raster_files.py": "checks",
        "runtime/output/cog.py": OWN,
        "segx/gis/vectorize.py": OWN,
        "segx/sample/summary.py": OWN,
    },
    "np.load": {
        "runtime/numpy_files.py": "checks",
        "exporter/feeds.py": OWN,
        "exporter/quantize_worker.py": OWN,
    },
    "json.loads": {
        "runtime/bundle.py": "checks",
        "runtime/jsonfile.py": "checks",
        "runtime/engines/record.py": "checks",
        "runtime/engines/inspector.py": "checks what TensorRT says",
        "runtime/output/journal.py": "checks",
        "runtime/datasets/flair_hub_series.py": "checks",
        "runtime/engines/build.py": OWN,
        "runtime/engines/worker.py": OWN,
        "runtime/output/workplace.py": OWN,
        "runtime/pipeline.py": OWN,
        "exporter/quantize.py": OWN,
        "exporter/quantize_worker.py": OWN,
        "segx/protocol_flair2.py": OWN,
        "segx/protocol_worker.py": OWN,
    },
    "tomllib.loads": {"runtime/tomlfile.py": "checks"},
    "sqlite3.connect": {
        "runtime/datasets/geopackage.py": "checks",
        "segx/gis/geopackage.py": OWN,
        "segx/sample/geopackage.py": OWN,
    },
    "ElementTree.fromstring": {"runtime/virtual_rasters.py": "checks"},
    "ZipFile": {"runtime/numpy_files.py": "checks"},
    "zipfile.ZipFile": {
        "segx/satellite/safe.py": "checks",
        "trainkit/importing/weights_file.py": "checks",
    },
    "torch.load": {
        "trainkit/importing/weights_file.py": "checks",
        "trainkit/fit.py": "reads tensors and numbers alone",
    },
    "safetensors.torch.load_file": {
        "trainkit/importing/weights_file.py": "checks",
        "trainkit/checkpoint.py": "checks",
        "trainkit/run.py": "holds tensors alone",
    },
    "onnx.load": {
        "exporter/importing/read.py": "checks",
        **dict.fromkeys(
            (
                *("exporter/deepness.py", "exporter/merge.py", "exporter/node_errors.py"),
                *("exporter/precision_stages.py", "exporter/quantize.py", "exporter/ranges.py"),
                *("exporter/repair.py", "exporter/workshop.py", "exporter/quantize_worker.py"),
            ),
            CHECKED,
        ),
        **dict.fromkeys(
            (
                "exporter/simplify.py",
                "exporter/simplify_worker.py",
                "exporter/importing/imported.py",
            ),
            OWN,
        ),
    },
    "pickle.load": {},
    "pickle.loads": {},
    "eval": {},
    "exec": {},
}
"""Modules that call each reader, and why they may."""


def calls(file: Path) -> Iterator[str]:
    """Names of what a module calls, such as `np.load`; but for files opened to be written."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            mode = [item.value for item in node.args[1:2] if isinstance(item, ast.Constant)]
            if mode != ["w"]:
                yield ast.unparse(node.func)


def test_files_are_read_where_they_are_checked() -> None:
    found: dict[str, set[str]] = {reader: set() for reader in READERS}
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for name in calls(file):
                if name in found:
                    found[name].add(file.relative_to(ROOT).as_posix())
    assert found == {reader: set(modules) for reader, modules in READERS.items()}


@pytest.mark.parametrize("line", ["rasterio.open(path)", "rasterio.open(path, driver='GTiff')"])
def test_a_new_way_in_is_seen(line: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(f"import rasterio\nwith {line} as a:\n    pass\n")
    assert list(calls(tmp_path / "a.py")) == ["rasterio.open"]
    (tmp_path / "a.py").write_text("rasterio.open(path, 'w', driver='GTiff')")
    assert not list(calls(tmp_path / "a.py"))
