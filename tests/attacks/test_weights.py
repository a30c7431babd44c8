"""Weights, checkpoints and graphs that were made to harm are refused when they are imported."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from runtime.datasets.flair import CLASSES
from trainkit.checkpoint import Origin, build_empty, save_checkpoint
from trainkit.config import load

from .conftest import Refuse, Runs

onnx = pytest.importorskip("onnx")

PRESET = "unet-resnet34-tiny"


class Attack(NamedTuple):
    """What a file of weights holds, and what is said of it."""

    name: str
    content: Callable[[], bytes]
    said: str


def saved(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def swollen() -> bytes:
    """An archive of PyTorch that was compressed."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved({"w": torch.zeros(1 << 20)}))) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in source.namelist():
            archive.writestr(name, source.read(name))
    return target.getvalue()


def safetensors(header: object, *, length: int | None = None) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + bytes(16)


def weight(*shape: int, end: int = 16) -> dict[str, object]:
    return {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}


ATTACKS = {
    "a pickle that runs code": Attack(
        "a.ckpt", lambda: pickle.dumps({"hook": Runs()}), "needs the code of posix.mkdir"
    ),
    "an archive that runs code": Attack(
        "a.pth", lambda: saved({"hook": Runs()}), "needs the code of posix.mkdir"
    ),
    "an archive that unpacks to more": Attack("a.pth", swollen, "and unpacks to 4194"),
    "safetensors that begin beyond their end": Attack(
        "a.safetensors", lambda: safetensors(weight(4), length=2**62), "cannot be read as"
    ),
    "safetensors that reach beyond their end": Attack(
        "a.safetensors", lambda: safetensors(weight(1 << 30, end=1 << 32)), "cannot be read as"
    ),
    "safetensors of another size": Attack(
        "a.safetensors", lambda: safetensors(weight(1 << 40)), "cannot be read as"
    ),
    "a pickle called safetensors": Attack(
        "a.safetensors", lambda: pickle.dumps(Runs()), "cannot be read as safetensors"
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_weights_are_refused_when_they_are_imported(
    name: str, tmp_path: Path, refuse: Refuse
) -> None:
    attack = ATTACKS[name]
    (tmp_path / attack.name).write_bytes(attack.content())
    assert attack.said in refuse("import", tmp_path / attack.name, "--as", PRESET, "--out", "run")
    assert not Path("was-run").exists()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint; read it, do not change it."""
    origin = Origin(
        segx_version="0.1.0",
        classes=CLASSES,
        steps={"aerial": 1},
        toy=True,
        provenance={},
        metrics={},
    )
    return save_checkpoint(tmp_path_factory.mktemp("run"), build_empty(load(PRESET)), origin)


def pickled(run: Path) -> None:
    (run / "model.safetensors").write_bytes(saved({"hook": Runs()}))


def renamed(run: Path) -> None:
    file = run / "checkpoint.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "config": "../../harm"}))


def changed(run: Path) -> None:
    with (run / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, os.SEEK_END)
        stream.write(b"harm")


CHECKPOINTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pickle in a checkpoint": (pickled, "is a pickle, which can run code when it is opened"),
    "a checkpoint called by a path": (renamed, "the config is called '../../harm'"),
    "a checkpoint that was changed": (changed, "model.safetensors has sha256"),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_checkpoint_is_refused_when_it_is_exported(
    name: str, whole: Path, tmp_path: Path, refuse: Refuse
) -> None:
    change, said = CHECKPOINTS[name]
    run = tmp_path / "run"
    run.mkdir()
    for path in whole.iterdir():
        (run / path.name).write_bytes(path.read_bytes())
    change(run)
    assert said in refuse("export", run)
    assert not Path("was-run").exists()


def test_a_graph_with_weights_elsewhere_is_refused_when_it_is_imported(
    tmp_path: Path, secret: Path, refuse: Refuse
) -> None:
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=1)
    tensor.external_data.add(key="location", value=f"../{secret.parent.name}/{secret.name}")
    image = onnx.helper.make_tensor_value_info("image", 1, ["N", 3, 64, 64])
    out = onnx.helper.make_tensor_value_info("out", 1, ["N", 3, 64, 64])
    node = onnx.helper.make_node("Add", ["image", "w"], ["out"])
    graph = onnx.helper.make_graph([node], "g", [image], [out], [tensor])
    (tmp_path / "a.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    (tmp_path / "a.toml").write_text(
        '[aerial]\nbands = ["r", "g", "b"]\nresolution_m = 0.2\ntile_size = 64\n'
        '[output]\nkind = "logits"\n'
        + "".join(f'[[classes]]\nname = "{n}"\ncolor = "#00000{n}"\n' for n in range(3))
    )
    message = refuse("import", tmp_path / "a.onnx", "--out", "a.segx")
    assert "is no plain file beside it" in message
