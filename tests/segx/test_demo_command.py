"""The packaged toy maps generated imagery, names itself a toy, and maps nothing else unasked."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from runtime.bundle import open_bundle
from segx.bundles import TOY
from segx.sample import write_scene

Segx = Callable[..., Any]

MAX_MIB = 5.0


pytestmark = pytest.mark.usefixtures("no_gpu")


def test_the_toy_is_small_verified_and_says_that_it_is_a_toy() -> None:
    bundle = open_bundle(TOY)
    assert bundle.manifest.model.toy
    assert bundle.manifest.verified
    assert sum(file.stat().st_size for file in TOY.iterdir()) / 2**20 <= MAX_MIB


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where Python opens a socket."""

    def refuse(*arguments: object) -> None:
        pytest.fail(f"a socket is opened: {arguments}")

    for name in ("bind", "connect", "connect_ex", "sendmsg", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_sockets")
def test_the_demo_maps_a_scene_measures_the_map_and_times_the_toy(
    segx: Segx, tmp_path: Path, transcript: Callable[[str, str], None]
) -> None:
    result = segx("demo", "--out", "here", "--json", "report.json")
    assert result.code == 0, result.err
    transcript("demo", result.out)
    here = tmp_path / "here"
    with (
        rasterio.open(here / "maps" / "aerial_landcover.tif") as written,
        rasterio.open(here / "scene" / "aerial.tif") as aerial,
    ):
        assert written.shape == aerial.shape
        assert written.transform == aerial.transform
        assert "toy" in written.tags()["SEGX_TOY"] or "generated" in written.tags()["SEGX_TOY"]
        assert len(np.unique(written.read(1))) > 5
    assert json.loads((tmp_path / "report.json").read_text())["tiles"] > 1
    scores = json.loads((here / "eval.json").read_text())["results"]["scene"]["scores"]
    assert scores["miou"] > 0.3  # the toy has learned something: chance is below 0.05
    assert json.loads((here / "bench.json").read_text())["results"][0]["golden_agreement"] > 0.999
    assert "segx train" in result.out.splitlines()[-1]


def test_the_toy_refuses_imagery_that_was_not_generated(segx: Segx, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene", seed=3, shape=(600, 520))
    with rasterio.open(scene / "aerial.tif") as dataset:
        profile, pixels, names = dataset.profile, dataset.read(), dataset.descriptions
    profile.pop("driver")
    with rasterio.open(tmp_path / "scene" / "aerial.tif", "w", driver="GTiff", **profile) as file:
        file.write(pixels)
        file.descriptions = names
    refused = segx("infer", scene, "--bundle", TOY, "--out", "maps")
    assert refused.code == 1
    (complaint,) = refused.complaints
    assert "is a toy for generated imagery" in complaint
    assert not list(tmp_path.glob("maps/*.tif"))
    assert segx("infer", scene, "--bundle", TOY, "--out", "maps", "--toy-ok").code == 0
