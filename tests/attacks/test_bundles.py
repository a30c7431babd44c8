"""Bundles that were made to harm are refused when they are looked at or run.

Whoever changes a file of a bundle can change its hash as well, so most of these have right hashes.
"""

import io
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from runtime.bundle import MOST_MANIFEST_BYTES, sha256_of

from .conftest import Refuse, Runs

onnx = pytest.importorskip("onnx")


class Attack(NamedTuple):
    """How a whole bundle is changed, and what is said of it."""

    change: Callable[[Path, Path], object]
    """Takes the bundle and a secret file outside of it."""
    said: str


def edit(bundle: Path, change: Callable[[Any], object]) -> None:
    """Change the manifest."""
    file = bundle / "manifest.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def rehash(bundle: Path) -> None:
    """Write the hashes that the files have."""
    found = {path.name: sha256_of(path) for path in bundle.iterdir() if path.suffix != ".json"}
    edit(bundle, lambda data: data["files"].update(found))


def listed(name: Callable[[Path], str]) -> Callable[[Path, Path], None]:
    """List another file, by the name that it has from the secret, with its right hash."""

    def change(bundle: Path, secret: Path) -> None:
        edit(bundle, lambda data: data["files"].update({name(secret): sha256_of(secret)}))

    return change


def set_value(*keys: str | int, value: object) -> Callable[[Path, Path], None]:
    """Set a value of the manifest."""

    def change(bundle: Path, secret: Path) -> None:
        def put(data: Any) -> None:
            for key in keys[:-1]:
                data = data[key]
            data[keys[-1]] = value

        edit(bundle, put)

    return change


def text(change: Callable[[str], str]) -> Callable[[Path, Path], None]:
    """Change the text of the manifest."""

    def apply(bundle: Path, secret: Path) -> None:
        file = bundle / "manifest.json"
        file.write_text(change(file.read_text()))

    return apply


def graph(change: Callable[[Any], object]) -> Callable[[Path, Path], None]:
    """Change a graph, and its hash with it."""

    def apply(bundle: Path, secret: Path) -> None:
        model = onnx.load(bundle / "aerial.onnx")
        change(model)
        (bundle / "aerial.onnx").write_bytes(model.SerializeToString())
        rehash(bundle)

    return apply


def golden(content: Callable[[], bytes]) -> Callable[[Path, Path], None]:
    """Put something in place of the golden tile, and its hash."""

    def apply(bundle: Path, secret: Path) -> None:
        (bundle / "golden.npz").write_bytes(content())
        rehash(bundle)

    return apply


def link_file(bundle: Path, secret: Path) -> None:
    (bundle / "aerial.onnx").rename(secret.parent / "aerial.onnx")
    (bundle / "aerial.onnx").symlink_to(secret.parent / "aerial.onnx")


def link_folder(bundle: Path, secret: Path) -> None:
    (bundle / "linked").symlink_to(secret.parent)
    edit(bundle, lambda data: data["files"].update({"linked/secret.txt": sha256_of(secret)}))


def link_manifest(bundle: Path, secret: Path) -> None:
    (bundle / "manifest.json").rename(secret.parent / "manifest.json")
    (bundle / "manifest.json").symlink_to(secret.parent / "manifest.json")


def link_golden(bundle: Path, secret: Path) -> None:
    (bundle / "golden.npz").rename(secret.parent / "golden.npz")
    (bundle / "golden.npz").symlink_to(secret.parent / "golden.npz")
    edit(bundle, lambda data: data["files"].pop("golden.npz"))


def pipe(bundle: Path, secret: Path) -> None:
    (bundle / "fusion.onnx").unlink()
    os.mkfifo(bundle / "fusion.onnx")


def change_byte(bundle: Path, secret: Path) -> None:
    content = bytearray((bundle / "aerial.onnx").read_bytes())
    content[-1] ^= 1
    (bundle / "aerial.onnx").write_bytes(content)


def swap(bundle: Path, secret: Path) -> None:
    (bundle / "aerial.onnx").rename(bundle / "x")
    (bundle / "satellite.onnx").rename(bundle / "aerial.onnx")
    (bundle / "x").rename(bundle / "satellite.onnx")
    rehash(bundle)


def other_weights(model: Any) -> None:
    (cells,) = (tensor for tensor in model.graph.initializer if tensor.name == "cells")
    values = np.random.default_rng(1).permuted(onnx.numpy_helper.to_array(cells))
    cells.CopyFrom(onnx.numpy_helper.from_array(values, "cells"))


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../elsewhere0/secret.txt")


def custom_domain(model: Any) -> None:
    model.graph.node[0].domain = "evil.ops"
    model.opset_import.append(onnx.helper.make_opsetid("evil.ops", 1))


def function(model: Any) -> None:
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    opset = [onnx.helper.make_opsetid("", 20)]
    model.functions.append(onnx.helper.make_function("", "Relu", ["x"], ["y"], [node], opset))


def endless_loop(model: Any) -> None:
    names = ("i", "go", "again")
    value = [
        onnx.helper.make_tensor_value_info(name, 7 if name == "i" else 9, []) for name in names
    ]
    same = onnx.helper.make_node("Identity", ["go"], ["again"])
    body = onnx.helper.make_graph([same], "body", value[:2], value[2:])
    model.graph.node.insert(0, onnx.helper.make_node("Loop", ["", ""], [], body=body))


def dims(*sizes: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(sizes)

    return change


def training(model: Any) -> None:
    model.training_info.add().algorithm.name = "harmful"


def pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.array([Runs()], dtype=object))
    return stream.getvalue()


def bomb() -> bytes:
    """An archive whose list says that it unpacks to 2 GiB."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(1 << 20))
    content = bytearray(stream.getvalue())
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = (2**31).to_bytes(4, "little")
    return bytes(content)


def other_shape() -> bytes:
    stream = io.BytesIO()
    rng = np.random.default_rng(1)
    arrays = {
        "input.aerial": rng.integers(0, 255, (1, 5, 64, 64)).astype(np.uint8),
        "input.satellite": np.zeros((1, 12, 10, 8, 8), np.float32),
        "input.date_mask": np.ones((1, 12), np.float32),
        "input.days": np.ones((1, 12), np.float32),
        "output.classes": np.zeros((1, 64, 64), np.uint8),
        "output.confidence": np.zeros((1, 7, 3), np.uint8),
    }
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()


BILLION = 10**9

LOOKED_AT = {
    "a path that leaves the bundle": Attack(
        listed(lambda secret: f"../{secret.parent.name}/{secret.name}"), "is a path or a link"
    ),
    "an absolute path": Attack(listed(str), "is a path or a link"),
    "a link in place of a file": Attack(link_file, "is a path or a link"),
    "a link to a folder": Attack(link_folder, "is a path or a link"),
    "a manifest that is a link": Attack(link_manifest, "manifest.json is a link"),
    "a pipe in place of a file": Attack(pipe, "fusion.onnx is missing"),
    "a file that was changed": Attack(change_byte, "aerial.onnx has sha256"),
    "a part in another folder": Attack(
        set_value("parts", 0, "file", value="../aerial.onnx"), "expected a plain file name"
    ),
    "a bundle called by a path": Attack(
        set_value("model", "config", value="../../../harm"),
        "the config is called '../../../harm'; expected a name without /",
    ),
    "a part called by a path": Attack(
        set_value("parts", 0, "name", value="/harm"), "the part is called '/harm'"
    ),
    "weights in another file": Attack(graph(external), "keeps weights in other files"),
    "operators of strangers": Attack(graph(custom_domain), "uses operators of 'evil.ops'"),
    "functions in a graph": Attack(graph(function), "defines functions of its own"),
    "a loop without end": Attack(graph(endless_loop), "has branches or loops"),
    "a graph for training": Attack(graph(training), "holds graphs for training"),
    "absurd sizes in a graph": Attack(
        graph(dims(2**31, 2**31)), "states 4.61e+18 values for a tensor"
    ),
    "negative sizes in a graph": Attack(graph(dims(-5)), "has a tensor with a negative size"),
    "a tensor of 100 000 axes": Attack(
        graph(dims(*[2**62] * 100_000)), "has a tensor of more than 64 axes"
    ),
    "an absurd tile in a manifest": Attack(
        set_value("aerial", "tile_size", value=4 * BILLION), "expected uint8 of [5, 4000000000"
    ),
    "absurd sizes in a manifest": Attack(
        set_value("parts", 0, "inputs", 0, "shape", value=["N", 5, BILLION, BILLION]),
        "has the shape N x 5 x 1000000000",
    ),
    "negative sizes in a manifest": Attack(
        set_value("parts", 0, "inputs", 0, "shape", value=["N", 5, -64, -64]),
        "has the shape N x 5 x -64",
    ),
    "a manifest beyond all measure": Attack(
        text(lambda content: content + " " * MOST_MANIFEST_BYTES), "it has 16 MiB"
    ),
    "a manifest nested too deep": Attack(
        text(lambda content: "[" * 100_000 + "]" * 100_000), "cannot be read as JSON"
    ),
    "a key that is said twice": Attack(
        text(lambda content: content.replace("{", '{"verified": false, ', 1)),
        "it has the key 'verified' twice",
    ),
    "text that steers a terminal": Attack(
        set_value("verdict", value="\x1b]0;title\x07\x1b[2J"), "holds control characters"
    ),
    "values of other types": Attack(
        set_value("aerial", "halo", value="16"), "halo is '16'; expected int"
    ),
    "a mean that is no number": Attack(
        set_value("aerial", "normalization", "mean", 0, value=float("nan")),
        "it has NaN, which is no number",
    ),
    "a mean without bounds": Attack(
        text(lambda content: content.replace("100.0", "1e999", 1)), "expected numbers, and std"
    ),
    "a deviation of zero": Attack(
        set_value("aerial", "normalization", "std", 0, value=0.0), "expected numbers, and std"
    ),
}
"""What `segx inspect` refuses."""

RUN = {
    "parts that were swapped": Attack(swap, "aerial.onnx maps date_mask, days, satellite to"),
    "a part of another model": Attack(graph(other_weights), "% of its golden tile"),
    "a pickle in the golden tile": Attack(golden(pickled), "it holds values of type object"),
    "a golden tile that unpacks to 2 GiB": Attack(golden(bomb), "it unpacks to 2048 MiB"),
    "a golden tile of another shape": Attack(
        golden(other_shape), "holds 'confidence' as uint8 of shape (1, 7, 3)"
    ),
    "a golden tile elsewhere": Attack(link_golden, "lists no golden.npz"),
}
"""What looks whole, and is refused when it is to be run."""


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be changed."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "tiny.segx"))


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_bundle_is_refused_when_it_is_looked_at(
    name: str, bundle: Path, secret: Path, refuse: Refuse
) -> None:
    LOOKED_AT[name].change(bundle, secret)
    assert LOOKED_AT[name].said in refuse("inspect", bundle)


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("backend", ["auto", "openvino"])
@pytest.mark.usefixtures("no_gpu")
def test_a_bundle_is_refused_when_it_is_run(
    name: str, backend: str, bundle: Path, secret: Path, refuse: Refuse, tiny_scene: Path
) -> None:
    RUN[name].change(bundle, secret)
    command = ("infer", tiny_scene, "--bundle", bundle, "--backend", backend)
    assert RUN[name].said in refuse(*command, "--out", "maps")
    assert not Path("was-run").exists()


def test_the_bundle_that_is_changed_is_whole(segx: Callable[..., Any], bundle: Path) -> None:
    assert segx("inspect", bundle).code == 0


def test_the_pickle_that_is_refused_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Runs()))
    assert Path("was-run").exists()
