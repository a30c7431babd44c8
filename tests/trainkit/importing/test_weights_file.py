"""Files of weights are read without running anything, and hostile ones take one line."""

import argparse
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from runtime.errors import CheckpointError
from trainkit.importing.weights_file import WRAPPERS, read_weights

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}


class Runs:
    """A pickle of it runs a command when it is opened without care."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def same(found: dict[str, torch.Tensor]) -> bool:
    return set(found) == set(TENSORS) and all(torch.equal(found[k], TENSORS[k]) for k in TENSORS)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".bin"])
@pytest.mark.parametrize("modern", [True, False])
def test_a_state_dict_is_read_from_every_form_of_pytorch(
    suffix: str, modern: bool, tmp_path: Path
) -> None:
    file = tmp_path / f"weights{suffix}"
    torch.save(TENSORS, file, _use_new_zipfile_serialization=modern)
    assert same(read_weights(file)[""])


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")
    assert same(read_weights(tmp_path / "weights.safetensors")[""])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_weights_are_found_beside_what_a_training_keeps(wrapper: str, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"epoch": 3, wrapper: TENSORS, "optimizer_states": [{"step": 1}]}, file)
    assert same(read_weights(file)[wrapper])


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("archive", [True, False])
def test_a_pickle_that_needs_code_is_refused_by_its_name_and_does_not_run(
    archive: bool, protocol: int, tmp_path: Path
) -> None:
    file, marker = tmp_path / "evil.pth", tmp_path / "ran"
    content = {"state_dict": TENSORS, "hook": Runs(marker)}
    if archive:
        torch.save(content, file, pickle_protocol=max(protocol, 2))
    else:
        content = {"hook": Runs(marker)}
        file.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"needs the code of (posix|nt)\.system"):
        read_weights(file)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (nn.Conv2d(1, 1, 1), r"torch\.nn\.modules\.conv\.Conv2d"),
        ({"state_dict": TENSORS, "hyper": argparse.Namespace(a=1)}, r"argparse\.Namespace"),
    ],
)
def test_a_whole_module_and_settings_as_objects_are_refused_by_name(
    content: object, name: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "whole.pt")
    with pytest.raises(CheckpointError, match=f"needs the code of {name}.*save its state dict"):
        read_weights(tmp_path / "whole.pt")


def test_damaged_files_take_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(TENSORS, whole)
    save_file(TENSORS, tmp_path / "whole.safetensors")
    data, safe = whole.read_bytes(), (tmp_path / "whole.safetensors").read_bytes()
    damaged = {
        "cut.pth": data[: len(data) // 2],
        "empty.pth": b"",
        "text.pth": b"hello",
        "page.pth": b"<html></html>",
        "cut.safetensors": safe[:-4],
        "long.safetensors": b"\xff" * 8 + safe[8:],
        "pickle.safetensors": data,
    }
    for name, content in damaged.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(CheckpointError) as refused:
            read_weights(file)
        assert str(file) in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["missing.pth", "weights.h5"])
def test_what_is_no_file_of_weights_is_refused(name: str, tmp_path: Path) -> None:
    if name.endswith("h5"):
        (tmp_path / name).write_bytes(b"\x89HDF")
    with pytest.raises(CheckpointError, match=r"\.safetensors or \.pth"):
        read_weights(tmp_path / name)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.ones(1)], torch.ones(2)])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match="holds no named tensors"):
        read_weights(tmp_path / "w.pth")
