"""Read weights from a file that a stranger wrote, without running anything that it holds.

A safetensors file holds tensors alone. A PyTorch file is a pickle: it is opened with PyTorch's
weights-only loader, which knows tensors and plain containers and refuses every other name.
"""

import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import safetensors.torch
import torch
from torch import Tensor

from runtime.errors import CheckpointError, brief

Weights = dict[str, Tensor]

SAFETENSORS = ".safetensors"
PICKLES = (".pth", ".pt", ".ckpt", ".bin")
"""Endings of PyTorch's files."""

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "network", "net", "weights")
"""Keys under which trainings put the weights, beside epoch and optimizer."""

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")
"""How PyTorch's loader names what it refuses."""
_HARMLESS = ("torch.", "collections.OrderedDict")
"""What every file of PyTorch asks for."""
_SPARE = 1 << 20
"""Bytes by which the entries of an archive may exceed its file."""


def read_weights(path: Path) -> dict[str, Weights]:
    """Read all sets of named tensors in a file.

    Returns:
        Each set by the key under which it lies; the key is empty for the file itself.

    Raises:
        CheckpointError: If the file is missing, damaged, of another kind, holds no tensors, or is a
            pickle that needs code.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no file {path}; expected weights, {SAFETENSORS} or {', '.join(PICKLES)}; "
            "check the path"
        )
    if path.suffix == SAFETENSORS:
        content: object = _read_safetensors(path)
    elif path.suffix in PICKLES:
        content = _read_pickle(path)
    else:
        raise CheckpointError(
            f"{path} ends in '{path.suffix}'; expected weights, {SAFETENSORS} or "
            f"{', '.join(PICKLES)}; save the state dict of the model as one of these"
        )
    found = dict(_sets(content))
    if not found:
        raise CheckpointError(
            f"{path} holds no named tensors; expected the state dict of a model, or one under "
            f"{', '.join(WRAPPERS)}; save model.state_dict()"
        )
    return found


def _sets(content: object) -> Iterator[tuple[str, Weights]]:
    if not isinstance(content, Mapping):
        return
    for key in ("", *WRAPPERS):
        inner = content.get(key) if key else content
        if isinstance(inner, Mapping):
            weights = {
                name: value
                for name, value in inner.items()
                if isinstance(name, str) and _is_plain(value)
            }
            if weights:
                yield key, weights


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def _read_safetensors(path: Path) -> Weights:
    try:
        return safetensors.torch.load_file(path)
    except Exception as error:  # a hostile file can raise anything
        raise CheckpointError(
            f"{path} cannot be read as safetensors ({brief(error)}); expected a whole file of "
            "tensors; restore it"
        ) from error


def _read_pickle(path: Path) -> object:
    _refuse_swollen(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=UserWarning)  # other versions of pickles
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile file can raise anything
        named = _refused_global(str(error)) or _first_global(path)
        if named:
            raise CheckpointError(
                f"{path} is a pickle that needs the code of {named}; expected tensors in plain "
                "dictionaries, as nothing else is loaded; where you trust it, open it yourself and "
                "save its state dict alone"
            ) from error
        raise CheckpointError(
            f"{path} cannot be read as weights of PyTorch ({type(error).__name__}); expected a "
            "file that torch.save wrote; restore the file"
        ) from error


def _refuse_swollen(path: Path) -> None:
    """Refuse an archive that says it holds more than the file does; PyTorch compresses nothing."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            content = sum(entry.file_size for entry in archive.infolist())
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(
            f"{path} cannot be read as an archive of PyTorch ({brief(error)}); expected a whole "
            "one; restore the file"
        ) from error
    size = path.stat().st_size
    if content > size + _SPARE:
        raise CheckpointError(
            f"{path} has {size} bytes and unpacks to {content}; expected an archive that is not "
            "compressed, as torch.save writes it; save the weights again"
        )


def _refused_global(message: str) -> str:
    """Name the code that PyTorch's loader refuses; empty if that is not why it failed."""
    found = _GLOBAL.search(message)
    return found[1] if found else ""


def _first_global(path: Path) -> str:
    """Name the first code beside PyTorch's that a pickle asks for, without running it.

    Empty where there is none, or where the file is no pickle.
    """
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as stream:
                return next(_globals(stream), "")
        with zipfile.ZipFile(path) as archive:
            (name,) = (item for item in archive.namelist() if item.endswith("data.pkl"))
            with archive.open(name) as stream:
                return next(_globals(stream), "")
    except Exception:  # a hostile file can raise anything
        return ""


def _globals(stream: IO[bytes]) -> Iterator[str]:
    texts: list[str] = []
    for operation, argument, _ in pickletools.genops(stream):
        found = ""
        if operation.name in ("GLOBAL", "INST"):
            found = str(argument).replace(" ", ".")
        elif operation.name == "STACK_GLOBAL":
            found = ".".join(texts)
        elif isinstance(argument, str):
            texts = [*texts[-1:], argument]
        if found and not found.startswith(_HARMLESS):
            yield found
