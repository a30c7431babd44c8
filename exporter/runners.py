"""Run the parts of a model one by one, in PyTorch or from their ONNX files."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnxruntime
import torch

from runtime.backends import Backend, open_session
from runtime.manifest import PartSpec
from runtime.session import Session
from trainkit.models import Part

from .parity import Arrays, Runner


def torch_runner(parts: Sequence[Part]) -> Runner:
    """Run the parts' modules in evaluation mode."""
    by_name = {part.name: part for part in parts}

    def run(name: str, feed: Arrays) -> Arrays:
        part = by_name[name]
        part.module.eval()
        with torch.inference_mode():
            result = part.module(*(torch.tensor(feed[spec.name]) for spec in part.inputs))
        outputs = result if isinstance(result, tuple) else (result,)
        names = (spec.name for spec in part.outputs)
        return {name: array.numpy() for name, array in zip(names, outputs, strict=True)}

    return run


def files_in(folder: Path, parts: Sequence[PartSpec]) -> dict[str, Path]:
    """Path of each part's file in a folder, by name."""
    return {part.name: folder / part.file for part in parts}


def run_as_written(model: Path | bytes, feed: Arrays) -> Arrays:
    """Run a graph node by node, with none of ONNX Runtime's optimisations.

    Args:
        model: An ONNX file, or what it holds.
        feed: Every input by name.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feed)), strict=True))


class SessionRunner:
    """Run the parts' ONNX files with one library; a session is opened at its first use.

    Args:
        backend: The library.
        files: ONNX file of each part, by name.
        parts: What the manifest says of them.
    """

    def __init__(
        self, backend: Backend, files: Mapping[str, Path], parts: Sequence[PartSpec]
    ) -> None:
        self._backend: Backend = backend
        self._files = files
        self._parts = {part.name: part for part in parts}
        self._sessions: dict[str, Session] = {}

    def __call__(self, name: str, feed: Arrays) -> Arrays:
        """Run a part on one sample."""
        if name not in self._sessions:
            self._sessions[name] = open_session(self._backend, self._files[name], self._parts[name])
        return self._sessions[name].run(feed)

    def close(self) -> None:
        """Close all sessions."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
