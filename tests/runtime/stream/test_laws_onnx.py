"""Laws of whole maps, with a convolutional network on ONNX Runtime whose sums are exact."""

import hashlib
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from local_model import POOL, card_of, map_files, noise, read, write
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.manifest import PartSpec, TensorSpec
from runtime.model import TileModel
from runtime.output.kinds import NODATA
from runtime.raster import reflected

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

Maps = dict[str, NDArray[np.uint8]]
HALO = 8
"""Pixels that the network sees around a cell of its stride at most, in whole cells."""
TILE = 64
SHIFT = 1 / 16
"""Steps between layers divide by this and drop what is left: no sum needs more than 24 bits."""

GRAPH = """
<ir_version: 10, opset_import: ["" : 20]>
local (uint8[N, 1, H, W] aerial) => (uint8[N, H, W] classes, uint8[N, H, W] confidence) {
    pixels = Cast <to = 1> (aerial)
    halves = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (pixels, w1)
    h1 = Mul (halves, shift) h2 = Floor (h1) h3 = Relu (h2)
    quarters = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (h3, w2)
    q1 = Mul (quarters, shift) q2 = Floor (q1) q3 = Relu (q2)
    doubled = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
        nearest_mode = "floor"> (q3, , twice)
    joined = Concat <axis = 1> (doubled, h3)
    decoded = Conv <pads = [1, 1, 1, 1]> (joined, w3)
    d1 = Mul (decoded, shift) d2 = Floor (d1) d3 = Relu (d2)
    full = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric",
        nearest_mode = "floor"> (d3, , twice)
    last = Conv <pads = [1, 1, 1, 1]> (full, w4)
    logits = Mul (last, shift)
    index = ArgMax <axis = 1, keepdims = 0> (logits)
    number = Cast <to = 1> (index)
    classes = Cast <to = 2> (number)
    axis = Constant <value_ints = [1]> ()
    largest = ReduceMax (logits, axis)
    less = Sub (logits, largest)
    grown = Exp (less)
    total = ReduceSum <keepdims = 0> (grown, axis)
    most = Constant <value_float = 254.0> ()
    shares = Div (most, total)
    rounded = Round (shares)
    confidence = Cast <to = 2> (rounded)
}
"""
SHAPES = {"w1": (4, 1, 3, 3), "w2": (4, 4, 3, 3), "w3": (4, 8, 3, 3), "w4": (13, 4, 3, 3)}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps down, two steps up, a skip between them, and weights of -2 to 2."""
    rng = np.random.default_rng(7)
    weights: dict[str, NDArray[Any]] = {
        name: rng.integers(-2, 3, shape) for name, shape in SHAPES.items()
    }
    weights["shift"] = np.array(SHIFT)
    weights["twice"] = np.array([1, 1, 2, 2])
    model = onnx.parser.parse_model(GRAPH)
    for name, values in weights.items():
        tensor = onnx.numpy_helper.from_array(values.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    onnx.checker.check_model(model, full_check=True)
    path = tmp_path_factory.mktemp("graph") / "local.onnx"
    onnx.save(model, path)
    return path


def opened(graph: Path, height: int, width: int, *, batch: int = 1, threads: int = 1) -> TileModel:
    from runtime.onnxruntime_session import OnnxRuntimeSession

    part = PartSpec(
        name="local",
        role="fusion",
        variant="classes",
        file=graph.name,
        precision="fp32",
        inputs=(TensorSpec(name="aerial", dtype="uint8", shape=("N", 1, height, width)),),
        outputs=tuple(
            TensorSpec(name=name, dtype="uint8", shape=("N", height, width))
            for name in ("classes", "confidence")
        ),
    )
    session = OnnxRuntimeSession(graph, part, batch=batch, threads=threads)
    return TileModel(parts=(part,), sessions=(session,))


def card(tile: int = TILE) -> ModelCard:
    return card_of(tile, HALO)


def in_one_run(graph: Path, pixels: NDArray[np.uint8], halo: int = HALO) -> Maps:
    """Maps of one run over a raster padded by the halo, and to whole cells, by mirroring."""
    padded = pixels
    for axis, size in enumerate(pixels.shape):
        length = size + 2 * halo + -size % POOL
        padded = padded.take(reflected(-halo, length, size), axis=axis)
    found = opened(graph, *padded.shape).run({"aerial": padded[None, None]})
    inner = np.s_[0, halo : halo + pixels.shape[0], halo : halo + pixels.shape[1]]
    return {name: array[inner] for name, array in found.items()}


def in_tiles(folder: Path, stem: str = "a") -> Maps:
    names = {"classes": "landcover", "confidence": "confidence"}
    return {kind: read(folder / f"{stem}_{name}.tif")[0] for kind, name in names.items()}


def assert_equal(found: Maps, expected: Maps) -> None:
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


odd = st.integers(0, 65).map(lambda half: 2 * half + 1)


@settings(max_examples=20)
@given(height=odd, width=odd)
@example(height=1, width=1)
@example(height=1, width=97)
@example(height=113, width=1)
@example(height=2, width=3)
@example(height=TILE + 1, width=TILE - 1)
@example(height=TILE, width=TILE - 1)
def test_tiles_make_the_map_of_one_run_over_the_whole_bit_for_bit(
    graph: Path, height: int, width: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("whole")
    pixels = noise(height, width)
    model = opened(graph, TILE, TILE)
    path = write(folder / "a.tif", pixels)
    map_files([path], folder / "maps", model, card=card(), confidence=True)
    assert_equal(in_tiles(folder / "maps"), in_one_run(graph, pixels))


def test_a_raster_of_exactly_one_tile_is_run_once_as_in_training(
    graph: Path, tmp_path: Path
) -> None:
    pixels = noise(TILE, TILE)
    model = opened(graph, TILE, TILE)
    path = write(tmp_path / "a.tif", pixels)
    report = map_files([path], tmp_path / "maps", model, card=card(), confidence=True)
    assert report.tiles == 1
    assert_equal(in_tiles(tmp_path / "maps"), in_one_run(graph, pixels, halo=0))


def test_the_network_can_tell_a_wrong_phase_and_a_missing_halo(graph: Path, tmp_path: Path) -> None:
    pixels = noise(121, 121)
    whole = in_one_run(graph, pixels)["classes"]
    assert len(np.unique(whole)) > 5
    for by in range(1, POOL):
        moved = in_one_run(graph, pixels[by:, by:])["classes"]
        inner = np.s_[HALO:-HALO, HALO:-HALO]
        assert (moved[inner] != whole[by:, by:][inner]).mean() > 0.1, by
    path = write(tmp_path / "a.tif", pixels)
    map_files([path], tmp_path / "maps", opened(graph, TILE, TILE), card=card(), halo=HALO - POOL)
    assert (read(tmp_path / "maps" / "a_landcover.tif")[0] != whole).any()


@settings(max_examples=10)
@given(data=st.data(), height=st.integers(2, 150), width=st.integers(2, 150))
def test_a_mosaic_cut_at_any_line_is_the_map_of_one_run_over_the_whole(
    data: st.DataObject,
    graph: Path,
    height: int,
    width: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("mosaic")
    pixels = noise(height, width)
    rows, cols = (
        [0, *sorted(data.draw(st.sets(st.integers(1, side - 1), max_size=2))), side]
        for side in pixels.shape
    )
    places = {
        f"{top}_{left}": np.s_[top:bottom, left:right]
        for (top, bottom), (left, right) in product(pairwise(rows), pairwise(cols))
    }
    paths = [
        write(folder / f"{name}.tif", pixels[part], part[0].start, part[1].start)
        for name, part in places.items()
    ]
    model = opened(graph, TILE, TILE)
    map_files(paths, folder / "maps", model, card=card())
    whole = in_one_run(graph, pixels, halo=0 if pixels.shape == (TILE, TILE) else HALO)
    found = np.full_like(pixels, NODATA)
    for stem, part in places.items():
        found[part] = read(folder / "maps" / f"{stem}_landcover.tif")[0]
    np.testing.assert_array_equal(found, whole["classes"])


def test_the_map_does_not_depend_on_how_it_is_made(
    graph: Path, few_columns: Callable[[int], None], tmp_path: Path
) -> None:
    """Threads, tiles per call, size of tiles, and strips, which change the order of tiles."""
    pixels = noise(131, 167)
    path = write(tmp_path / "a.tif", pixels)
    digests, orders = set(), set()
    for threads, batch, (tile, strip) in product((1, 2), (1, 3), ((48, 1), (64, 2), (100, 100))):
        few_columns(strip)
        out = tmp_path / f"{threads} {batch} {tile}"
        model = opened(graph, tile, tile, batch=batch, threads=threads)
        report = map_files([path], out, model, card=card(tile), confidence=True)
        assert report.plan is not None
        orders.add((report.plan.batch, report.plan.tile_size, report.plan.strips))
        maps = in_tiles(out)
        digests.add(hashlib.sha256(b"".join(m.tobytes() for m in maps.values())).hexdigest())
    assert len(orders) == 6, "what is varied has an effect"
    whole = in_one_run(graph, pixels)
    assert digests == {hashlib.sha256(b"".join(m.tobytes() for m in whole.values())).hexdigest()}
