"""Settings for all tests, a bundle of a few kilobytes, and rasters for it to map.

The same examples are drawn in every run, without a time limit per example. The bundle's weights are
integers, so that sums are exact whatever their order.
"""

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import rasterio
import rasterio.warp
from affine import Affine
from hypothesis import settings
from numpy.typing import NDArray

from runtime.engines.lock import hold

pytest_plugins = ("without_torch", "run_command", "own_cache")
T = TypeVar("T")

settings.register_profile("segx", derandomize=True, deadline=None, database=None, max_examples=40)
settings.register_profile("thorough", settings.get_profile("segx"), max_examples=300)
settings.load_profile("segx")

BANDS = ("red", "green", "blue", "nir", "elevation")
S2_BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
K = 13
HOUR_S = 3600.0
CORNER = (861_904.6, 6_523_377.2)
"""North-western corner of the aerial rasters, in EPSG:2154."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that stores the transcripts of the commands anew."""
    parser.addoption("--update-transcripts", action="store_true", help="store transcripts anew")


@pytest.fixture(scope="session")
def write_bundle() -> Callable[..., Path]:
    """Function that writes a small bundle: `write_bundle(folder, tile=64, halo=16, ...)`."""
    return _write_bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of both inputs: tiles of 64 px with a halo of 16 px, windows of 8 cells."""
    return _write_bundle(tmp_path_factory.mktemp("bundles") / "tiny.segx")


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], T]], T]:
    """Function that makes something in a folder of its name, once for all processes of a run.

    What it gives is read, never changed.
    """
    base = tmp_path_factory.getbasetemp()
    common = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def give(name: str, make: Callable[[Path], T]) -> T:
        kept = common / f"{name}.pickle"
        with hold(common / f"{name}.lock", limit_s=HOUR_S, on_wait=lambda: None):
            if not kept.exists():
                folder = common / name
                folder.mkdir()
                kept.write_bytes(pickle.dumps(make(folder)))
        made: T = pickle.loads(kept.read_bytes())
        return made

    return give


@pytest.fixture(scope="session")
def small_flair2(made_once: Callable[[str, Callable[[Path], Path]], Path]) -> Path:
    """Two areas of 2 x 2 synthetic patches, one for training and one for validation.

    All processes of a run have the same folder; read it, do not change it.
    """
    from segx.sample import write_flair2

    return made_once(
        "small", lambda folder: write_flair2(folder / "flair2", seed=1, areas=2, patches_per_side=2)
    )


@pytest.fixture(scope="session")
def _converter() -> Iterator[Any]:
    from warm_converter import WarmConverter

    converter = WarmConverter()
    yield converter
    converter.close()


@pytest.fixture(scope="module")
def warm_converter(_converter: Any) -> Iterator[None]:
    """Convert graphs in forks of one process that has ModelOpt loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.quantize.run_child", _converter.run)
        yield


@pytest.fixture(scope="session")
def write_aerial() -> Callable[..., Path]:
    """Function that writes an aerial raster: `write_aerial(path, pixels, ...)`."""
    return _write_aerial


@pytest.fixture(scope="session")
def write_series() -> Callable[..., Path]:
    """Function that writes a Sentinel-2 folder around the aerial rasters' corner."""
    return _write_series


@pytest.fixture(scope="session")
def tiny_scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene folder of 150 x 203 px with four dates and labels; read it, do not change it."""
    folder = tmp_path_factory.mktemp("scene")
    rng = np.random.default_rng(3)
    _write_aerial(folder / "aerial.tif", rng.integers(0, 256, (5, 150, 203), dtype=np.uint8))
    labels = rng.integers(1, 20, (1, 150, 203), dtype=np.uint8)
    _write_aerial(folder / "labels.tif", labels, bands=())
    _write_series(folder / "sentinel2")
    return folder


def _write_aerial(
    path: Path,
    pixels: NDArray[Any],
    *,
    bands: Sequence[str] = BANDS,
    crs: str | None = "EPSG:2154",
    transform: Affine | None = None,
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    tags: Mapping[str, str] | None = None,
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver="GTiff",
            count=pixels.shape[0],
            height=pixels.shape[1],
            width=pixels.shape[2],
            dtype=pixels.dtype,
            crs=crs,
            transform=transform or Affine(0.2, 0.0, CORNER[0], 0.0, -0.2, CORNER[1]),
            nodata=nodata,
        ) as dataset,
    ):
        dataset.write(pixels)
        dataset.update_tags(**(tags or {}))
        for index, name in enumerate(bands, start=1):
            dataset.set_band_description(index, name)
        if mask is not None:
            dataset.write_mask(mask)
    return path


def _write_series(
    folder: Path,
    *,
    days: Sequence[str] = ("20210115", "20210420", "20210425", "20210810"),
    dn: NDArray[Any] | None = None,
    crs: str = "EPSG:32631",
    bands: Sequence[str] = S2_BANDS,
    offset_m: float = 0.0,
    size: int = 40,
    nodata: float | None = 0,
) -> Path:
    """Write dates of `size` cells a side, whose middle lies `offset_m` east of the corner."""
    folder.mkdir(parents=True, exist_ok=True)
    (x,), (y,) = rasterio.warp.transform("EPSG:2154", crs, [CORNER[0] + offset_m], [CORNER[1]])
    half = size // 2 * 10
    transform = Affine(10.0, 0.0, round(x, -1) - half, 0.0, -10.0, round(y, -1) + half)
    if dn is None:
        rng = np.random.default_rng(5)
        dn = rng.integers(1, 6000, (len(days), 10, size, size), dtype=np.uint16)
    for day, values in zip(days, dn, strict=True):
        _write_aerial(
            folder / f"S2_{day}.tif",
            values,
            bands=bands,
            crs=crs,
            transform=transform,
            nodata=nodata,
        )
    return folder


def _write_bundle(
    folder: Path,
    *,
    tile: int = 64,
    halo: int = 16,
    window: int = 8,
    satellite: bool = True,
    precision: str = "fp32",
    **changes: object,
) -> Path:
    """Write parts, golden tile, manifest; `changes` replace keys of the manifest."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    folder.mkdir(parents=True)
    parts = _parts(folder, tile, window if satellite else 0, precision)
    _write_golden(folder, parts)
    manifest = _manifest(parts, tile, halo, window if satellite else 0)
    manifest["name"], manifest["precision"] = folder.stem, precision
    manifest["files"] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()
    }
    manifest.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return folder


def _manifest(parts: list[dict[str, Any]], tile: int, halo: int, window: int) -> dict[str, Any]:
    from runtime.datasets.flair import CLASSES
    from runtime.schema import to_dict

    dates = {"cloud_probability": 50.0, "max_covered": 0.5, "fallback_dates": 3}
    return {
        "format_version": "1.0",
        "created": "2026-01-02T03:04:05+00:00",
        "segx_version": "0.1.0",
        "model": {"config": "tiny", "parameters": 1234, "steps": 10, "toy": False},
        "parts": parts,
        "aerial": {
            "bands": list(BANDS),
            "resolution_m": 0.2,
            "tile_size": tile,
            "halo": halo,
            "stride": 4,
            "halo_exact": True,
            "normalization": {"mean": [100.0] * 5, "std": [1.0] * 5},
        },
        "satellite": {"window": window, "cell_m": 10.0, "dates": dates} if window else None,
        "classes": to_dict(CLASSES),
        "verified": True,
        "verdict": "made for tests",
        "licences": {"weights": "CC0"},
    }


def _spec(name: str, dtype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "dtype": dtype, "shape": ["N", *shape]}


def _parts(folder: Path, tile: int, window: int, precision: str) -> list[dict[str, Any]]:
    """Write the graphs; return what the manifest says of them."""
    cells = tile // 4
    aerial = _spec("aerial_logits", "float32", K, cells, cells)
    months = _spec("satellite_logits", "float32", K, window, window)
    logits = [aerial, months] if window else [aerial]
    maps = [_spec("classes", "uint8", tile, tile), _spec("confidence", "uint8", tile, tile)]
    soft = [_spec("probabilities", "float32", K, tile, tile)]
    series = [
        _spec("satellite", "float32", 12, 10, window, window),
        _spec("date_mask", "float32", 12),
        _spec("days", "float32", 12),
    ]
    made: list[tuple[str, str, str | None, list[dict[str, Any]], list[dict[str, Any]]]]
    made = [("aerial", "aerial", None, [_spec("aerial", "uint8", 5, tile, tile)], [aerial])]
    if window:
        made.append(("satellite", "satellite", None, series, [months]))
    made.append(("fusion", "fusion", "classes", logits, maps))
    made.append(("fusion_probabilities", "fusion", "probabilities", logits, soft))
    parts = []
    for name, role, variant, inputs, outputs in made:
        _write_graph(folder / f"{name}.onnx", name, inputs, outputs)
        parts.append(
            {
                "name": name,
                "role": role,
                "variant": variant,
                "file": f"{name}.onnx",
                "precision": precision,
                "inputs": inputs,
                "outputs": outputs,
            }
        )
    return parts


AERIAL = """
    pixels = Cast <to = 1> (aerial)
    centred = Sub (pixels, mean)
    coarse = Conv <strides = [4, 4]> (centred, cells)
    positive = Relu (coarse)
    aerial_logits = Conv <pads = [1, 1, 1, 1], group = 13> (positive, around)
"""
"""Cells of 4 x 4 px, then a neighbourhood of 3 x 3 cells: a pixel sees 11 px around it."""

SATELLITE = """
    year = Constant <value_float = 1024.0> ()
    later = Div (days, year)
    one = Constant <value_float = 1.0> ()
    weight = Add (later, one)
    masked = Mul (weight, date_mask)
    to_series = Constant <value_ints = [0, 12, 1, 1, 1]> ()
    weights = Reshape (masked, to_series)
    weighted = Mul (satellite, weights)
    months = Constant <value_ints = [1]> ()
    total = ReduceSum <keepdims = 0> (weighted, months)
    satellite_logits = Conv (total, mix)
"""
"""Sum of the months that hold a date, later ones a little heavier, and a mix of the bands."""

UPSAMPLED = """
    small = Constant <value_float = 0.001953125> ()
    scaled = Mul (aerial_logits, small)
    scales = Constant <value_floats = [1.0, 1.0, 4.0, 4.0]> ()
    upsampled = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
        (scaled, , scales)
"""
ALONE = UPSAMPLED.replace("upsampled", "logits")
FUSED = UPSAMPLED + "ground = GlobalAveragePool (satellite_logits) logits = Add (upsampled, ground)"

CLASS_MAP = """
    index = ArgMax <axis = 1, keepdims = 0> (logits)
    number = Cast <to = 1> (index)
    classes = Cast <to = 2> (number)
    shares = Softmax <axis = 1> (logits)
    channels = Constant <value_ints = [1]> ()
    winner = ReduceMax <keepdims = 0> (shares, channels)
    most = Constant <value_float = 254.0> ()
    stretched = Mul (winner, most)
    rounded = Round (stretched)
    confidence = Cast <to = 2> (rounded)
"""
PROBABILITY_MAP = "probabilities = Softmax <axis = 1> (logits)"


def _write_graph(
    path: Path, part: str, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]
) -> None:
    import onnx

    rng = np.random.default_rng(11)
    fused = FUSED if len(inputs) > 1 else ALONE
    body, weights = {
        "aerial": (
            AERIAL,
            {
                "mean": np.full((1, 5, 1, 1), 100),
                "cells": rng.integers(-1, 2, (K, 5, 4, 4)),
                # Of sum 0, so that no class is ahead everywhere.
                "around": rng.permuted([[1, -1, 0] * 3] * K, axis=1).reshape(K, 1, 3, 3),
            },
        ),
        "satellite": (SATELLITE, {"mix": rng.integers(-4, 5, (K, 10, 1, 1)) / 16}),
        "fusion": (fused + CLASS_MAP, {}),
        "fusion_probabilities": (fused + PROBABILITY_MAP, {}),
    }[part]
    heads = [
        ", ".join(
            f"{s['dtype'].replace('32', '')}[{','.join(map(str, s['shape']))}] {s['name']}"
            for s in specs
        )
        for specs in (inputs, outputs)
    ]
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> {part} ({heads[0]}) => ({heads[1]}) {{{body}}}'
    )
    for name, values in weights.items():
        tensor = onnx.numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def _write_golden(folder: Path, parts: list[dict[str, Any]]) -> None:
    """Run random inputs through the graphs, and keep both."""
    import onnxruntime

    rng = np.random.default_rng(13)
    known: dict[str, NDArray[Any]] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for part in parts:
        for spec in part["inputs"]:
            if spec["name"] not in known:
                shape = [1, *spec["shape"][1:]]
                high = 256 if spec["dtype"] == "uint8" else 2
                known[spec["name"]] = rng.integers(0, high, shape).astype(spec["dtype"])
                arrays[f"input.{spec['name']}"] = known[spec["name"]]
        session = onnxruntime.InferenceSession(folder / part["file"])
        names = [spec["name"] for spec in part["outputs"]]
        feed = {spec["name"]: known[spec["name"]] for spec in part["inputs"]}
        for name, array in zip(names, session.run(names, feed), strict=True):
            known[name] = arrays[f"output.{name}"] = array
    np.savez(folder / "golden.npz", **arrays)  # type: ignore[arg-type]
