"""Peers are given equal work: one file, one raster, one lattice; none is installed here."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from runtime.backends import BackendChoice
from runtime.bundle import open_bundle, sha256_of
from runtime.card import ModelCard
from runtime.manifest import AerialSpec, Normalization, Variant
from runtime.model import golden_feed, open_model
from runtime.tiler import TilePlan
from tools.bench_peers import dual, environment, peer_worker, raster, single
from tools.bench_peers.bundle import Wrapped, write_bundle
from tools.bench_peers.classes import plain_classes
from tools.bench_peers.contest import Segx, Worker

TILE, CLASSES = 256, 4


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A convolution of one pixel, from an image of two bands to four logits."""
    path = tmp_path_factory.mktemp("network") / "network.onnx"
    weights = np.array([[4, -1], [-3, 2], [1, 1], [0, -2]], dtype=np.float32)
    bias = np.array([-1, 0.2, -0.7, 0.4], dtype=np.float32)
    shapes = (("image", 2), ("logits", CLASSES))
    image, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", count, TILE, TILE])
        for name, count in shapes
    )
    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "w", "b"], ["logits"])],
        "network",
        [image],
        [logits],
        [
            numpy_helper.from_array(weights[:, :, None, None], "w"),
            numpy_helper.from_array(bias, "b"),
        ],
    )
    opset = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=10), path)
    return path


@pytest.fixture
def wrapped(network: Path) -> Wrapped:
    sample = np.random.default_rng(0).integers(0, 256, (2, TILE, TILE), dtype=np.uint8)
    return Wrapped(
        network=network,
        name="point",
        bands=("red", "green"),
        classes=plain_classes(CLASSES),
        tile=TILE,
        resolution_m=0.2,
        sample=sample,
    )


@pytest.fixture
def prepared(wrapped: Wrapped, tmp_path: Path) -> single.Prepared:
    bundles = {halo: tmp_path / f"halo-{halo}.segx" for halo in single.halos(TILE, 16)}
    for halo, folder in bundles.items():
        write_bundle(wrapped, folder, halo=halo, halo_exact=True)
    return single.Prepared(
        model=wrapped.network,
        raster=tmp_path / "raster.tif",
        bundles=bundles,
        halo=16,
        tile=TILE,
        bands=2,
        classes=CLASSES,
    )


@given(tile=st.integers(4, 64).map(lambda n: 16 * n), overlap=st.sampled_from([0.25, 0.5]))
def test_at_equal_overlap_all_step_alike(tile: int, overlap: float) -> None:
    plan = TilePlan(shape=(9 * tile, 9 * tile), size=tile, halo=single.halo_for(tile, overlap))
    monai, conflux, habitat = int(tile * (1 - overlap)), round(tile * (1 - overlap)), tile // 2
    assert plan.stride == monai == conflux
    assert overlap != single.HALF or plan.stride == habitat


def test_an_overlap_that_no_halo_gives_is_refused() -> None:
    with pytest.raises(ValueError, match="no even number of pixels"):
        single.halo_for(510, 0.25)


def test_all_run_one_file_on_one_raster_with_the_same_threads(prepared: single.Prepared) -> None:
    found = list(single.contenders(prepared, Path("env"), 3, single.PEERS))
    peers = [one for one in found if isinstance(one, Worker)]
    own = [one for one in found if isinstance(one, Segx)]
    assert len(peers) + len(own) == len(found)
    assert {worker.task["model"] for worker in peers} == {str(prepared.model)}
    digest = sha256_of(prepared.model)
    assert {open_bundle(one.bundle).manifest.files["network.onnx"] for one in own} == {digest}
    rasters = {worker.task["raster"] for worker in peers} | {str(one.source) for one in own}
    assert rasters == {str(prepared.raster)}
    assert {worker.task["threads"] for worker in peers} | {one.threads for one in own} == {3}
    assert {worker.script for worker in peers} == {
        (str(environment.python_of(Path("env"))), "-I", str(single.WORKER))
    }


def test_defaults_name_no_option_and_equal_overlap_names_it(prepared: single.Prepared) -> None:
    tasks = dict(single.tasks(prepared, 2))
    given = {name: (task["overlap"], task["mode"], task["blur"]) for name, task in tasks.items()}
    assert given == {
        **dict.fromkeys(single.PEERS, (None, None, None)),
        "monai, overlap 25 %": (0.25, "gaussian", None),
        "conflux-segmentation, overlap 25 %": (0.25, None, None),
        "habitat-mapper, no filter": (None, None, 0),
    }


def test_every_group_is_divided_by_the_run_of_segx_that_steps_alike(
    prepared: single.Prepared,
) -> None:
    found = {one.name: one for one in single.contenders(prepared, Path("env"), 2, ("monai",))}
    groups = single.groups(prepared, list(found))
    halos = []
    for group in groups:
        segx = found[group.segx]
        assert isinstance(segx, Segx)
        halos.append((segx.backend, open_bundle(segx.bundle).manifest.aerial.halo))
        assert set(group.others) <= found.keys()
    quarter, half = TILE // 8, TILE // 4
    ort = "onnxruntime"
    assert halos == [(ort, 16), ("openvino", 16), (ort, quarter), (ort, half)]
    assert [group.others for group in groups][2:] == [("monai, overlap 25 %",), ()]


def test_the_bundle_gives_what_the_network_gives(wrapped: Wrapped, tmp_path: Path) -> None:
    bundle = write_bundle(wrapped, tmp_path / "point.segx", halo=16, halo_exact=True)
    feed, golden = golden_feed(bundle)
    variants: tuple[Variant, ...] = ("classes", "probabilities")
    for variant in variants:
        choice = BackendChoice(name="onnxruntime", device="CPU", reason="asked for")
        model = open_model(bundle, choice, variant=variant)
        outputs = {name: array.copy() for name, array in model.run(feed).items()}
        model.close()
        logits = outputs["logits"].astype(np.float64)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        if variant == "probabilities":
            np.testing.assert_allclose(outputs["probabilities"], shares, atol=1e-6)
            continue
        image = wrapped.sample.astype(np.float32) / np.float32(255)
        assert np.array_equal(outputs["image"][0], image)
        assert np.array_equal(outputs["classes"], logits.argmax(axis=1))
        assert len(np.unique(outputs["classes"])) == CLASSES
        np.testing.assert_allclose(outputs["confidence"], 254 * shares.max(axis=1), atol=0.501)
        assert np.array_equal(golden["classes"], outputs["classes"])


def test_too_little_memory_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single, "_available_bytes", lambda: 4 << 30)
    single.refuse_without_memory(3000, 19, single.PEERS)
    single.refuse_without_memory(4096, 19, ("monai", "habitat-mapper"))
    with pytest.raises(SystemExit, match="need about 6 GiB in conflux-segmentation; 4 GiB"):
        single.refuse_without_memory(4096, 19, single.PEERS)


def test_every_version_is_exact_and_shared_ones_are_those_of_segx() -> None:
    found = environment.requirements(torch="2.0.1+cpu")
    pins = dict(text.split("==") for text in (*found, *environment.PEERS))
    assert len(pins) == len(found) + len(environment.PEERS)
    assert pins["numpy"] == np.__version__
    assert pins["rasterio"] == rasterio.__version__
    assert pins["onnxruntime"] == environment.onnxruntime_version()
    assert pins["torch"] == "2.0.1+cpu"


def test_setup_installs_peers_without_what_they_ask_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[list[str]] = []
    made: list[Path] = []

    def create(folder: Path, *, with_pip: bool) -> None:
        assert with_pip
        made.append(folder)

    monkeypatch.setattr("venv.create", create)
    monkeypatch.setattr("subprocess.run", lambda words, check: ran.append(words))
    environment.make(tmp_path / "env", torch="2.0")
    python = str(environment.python_of(tmp_path / "env"))
    assert made == [tmp_path / "env"]
    assert [words[0] for words in ran] == [python, python]
    assert [("--no-deps" in words, words[-1]) for words in ran] == [
        (False, "torch==2.0"),
        (True, environment.PEERS[-1]),
    ]


@pytest.mark.parametrize("size", [7, 64, 1000])
def test_a_raster_repeats_the_imagery_mirrored(tmp_path: Path, size: int) -> None:
    generator = np.random.default_rng(2)
    pixels = generator.integers(0, 256, (2, 40, 33), dtype=np.uint8)
    source = tmp_path / "aerial.tif"
    place = {"crs": "EPSG:2154", "transform": raster.GROUND}
    shape = {"count": 2, "height": 40, "width": 33, "dtype": "uint8"}
    with rasterio.open(source, "w", driver="GTiff", **shape, **place) as target:
        target.write(pixels)
        target.set_band_description(1, "red")
    made = raster.make_raster(tmp_path / "raster.tif", size, source)
    pad = ((0, 0), (0, max(0, size - 40)), (0, max(0, size - 33)))
    with rasterio.open(made) as found:
        assert np.array_equal(found.read(), np.pad(pixels, pad, "reflect")[:, :size, :size])
        assert found.descriptions == ("red", None)
        assert found.transform == raster.GROUND


def test_a_generated_raster_is_the_same_again(tmp_path: Path) -> None:
    paths = [raster.make_raster(tmp_path / f"{k}.tif", 300, None) for k in range(2)]
    with rasterio.open(paths[0]) as one, rasterio.open(paths[1]) as other:
        assert one.descriptions == raster.BANDS
        pixels = one.read()
        assert np.array_equal(pixels, other.read())
    assert pixels.std() > 20


def test_peers_known_here_are_those_that_the_worker_can_run() -> None:
    assert set(peer_worker.TOOLS) == set(single.PEERS)
    assert {text.split("==")[0] for text in environment.PEERS} == set(single.PEERS)


@pytest.mark.parametrize("shape", [(64, 64), (150, 203), (33, 257)])
def test_the_loop_of_pytorch_runs_the_tiles_of_segx(
    shape: tuple[int, int], tiny_scene: Path, write_aerial: Any, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    from tools.bench_peers import torch_loop

    pixels = np.random.default_rng(4).integers(0, 256, (5, *shape), dtype=np.uint8)
    write_aerial(tmp_path / "aerial.tif", pixels)
    (tmp_path / "sentinel2").symlink_to(tiny_scene / "sentinel2")
    loop = torch_loop.Loop(tmp_path, _checkpoint(), halo=16)
    plan = TilePlan(shape=shape, size=64, halo=16)
    seen: list[tuple[int, ...]] = []

    def first_band(feed: Mapping[str, Any]) -> Any:
        seen.append(tuple(feed["aerial"].shape))
        assert {"satellite", "date_mask", "days"} < feed.keys()
        return feed["aerial"][:, 0].to(torch.int64)

    assert np.array_equal(loop.run(first_band), pixels[0])
    assert seen == [(1, 5, 64, 64)] * len(plan)
    padded = np.pad(pixels, ((0, 0), (plan.margin, 64), (plan.margin, 64)), "reflect")
    tile = next(iter(plan))
    assert np.array_equal(loop.feed(tile)["aerial"][0].numpy(), padded[:, :64, :64])
    loop.source.close()


def _checkpoint() -> Any:
    from runtime.satellite import SatelliteSpec

    aerial = AerialSpec(
        bands=raster.BANDS,
        resolution_m=0.2,
        tile_size=64,
        halo=16,
        stride=32,
        halo_exact=False,
        normalization=Normalization(mean=(0.0,) * 5, std=(1.0,) * 5),
    )
    card = ModelCard(
        name="tiny",
        sha256="",
        verified=False,
        toy=False,
        aerial=aerial,
        satellite=SatelliteSpec(window=8),
        classes=plain_classes(2),
    )
    return SimpleNamespace(card=card)


def test_pytorch_steps_as_the_bundles_do(wrapped: Wrapped, tmp_path: Path) -> None:
    bundles = {}
    for name, halo in (("one", 16), ("two", 16), ("other", 32)):
        bundles[name] = tmp_path / f"{name}.segx"
        write_bundle(wrapped, bundles[name], halo=halo, halo_exact=True)
    same = {name: bundles[name] for name in ("one", "two")}
    found = dual.contenders(
        tmp_path, same, tmp_path, backends=["openvino"], ways=["eager"], threads=2
    )
    workers = [one for one in found if isinstance(one, Worker)]
    assert [one.name for one in found] == [
        "segx, one, openvino",
        "segx, two, openvino",
        "PyTorch, eager",
    ]
    assert [(worker.task["halo"], worker.task["way"]) for worker in workers] == [(16, "eager")]
    with pytest.raises(SystemExit, match="bundles of one halo are needed"):
        dual.common_halo(bundles)
