"""Run a stranger's ONNX file as its owner does: scaled by NumPy, its scores read in PyTorch.

It shares no graph with the bundle that is made of it, and is the first stage of its ledger.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import ModelProto

from runtime.errors import BundleError, ConfigError, brief
from trainkit.models import ClassMap, ProbabilityMap

from .declaration import Declaration, SatelliteInput
from .ending import Ending
from .graph_edit import needed
from .scores import LEAST, LEAST_FP32, Scores

ORIGINAL_NAME = "original ONNX"

DTYPES: dict[str, type] = {
    "tensor(float)": np.float32,
    "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}

SUM_TOLERANCE = 1e-2
"""By how much the probabilities of a pixel may miss 1."""

Feed = Mapping[str, NDArray[Any]]


class Original:
    """The graph as its file has it, on the inputs that bundles take; one tile at a time.

    Args:
        model: Graph from `read_model`.
        declaration: What it takes.
        ending: Where its scores are.
        folder: Where a copy is written that ends in them.

    Raises:
        BundleError: If ONNX Runtime cannot open it.
    """

    precision = "fp32"

    def __init__(
        self, model: ModelProto, declaration: Declaration, ending: Ending, folder: Path
    ) -> None:
        self._declaration = declaration
        self._ending = ending
        path = folder / "original.onnx"
        onnx.save(needed(model, [ending.given]), path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exception classes are private and share no base
            raise BundleError(
                f"ONNX Runtime cannot open the graph ({brief(error)}); expected one that runs; "
                "export the model again"
            ) from error
        head = Scores(
            ending.given_kind,
            classes=len(declaration.classes),
            side=declaration.aerial.tile_size,
            # As the parts do, unless they go on from the logits.
            least=LEAST_FP32 if ending.scores_kind == "logits" else LEAST,
        )
        self._maps = ClassMap(head).eval(), ProbabilityMap(head).eval()

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """Map a batch of tiles: classes and confidence, and probabilities."""
        tiles = [
            self._map({name: array[i : i + 1] for name, array in feed.items()})
            for i in range(len(feed["aerial"]))
        ]
        return {name: np.concatenate([tile[name] for tile in tiles]) for name in tiles[0]}

    def check(self, feed: Feed) -> None:
        """Refuse scores that are not of the declared kind.

        Args:
            feed: One tile.

        Raises:
            ConfigError: If logits are probabilities, or the other way round.
        """
        scores = self.scores(feed)
        total = scores.sum(axis=1) if scores.shape[1] > 1 else np.ones(1)
        shares = bool(scores.min() >= 0 and scores.max() <= 1)
        sums = bool(np.abs(total - 1).max() <= SUM_TOLERANCE)
        found = f"numbers from {scores.min():.3g} to {scores.max():.3g}"
        if self._ending.given_kind == "probabilities" and not (shares and sums):
            raise ConfigError(
                f'output.kind is "probabilities", and the graph gives {found} whose sum is '
                f"{total.min():.3g} to {total.max():.3g}; expected 0 to 1 with the sum 1; declare "
                'kind = "logits", or export the model without its last step'
            )
        if self._ending.given_kind == "logits" and shares and sums and scores.shape[1] > 1:
            raise ConfigError(
                f'output.kind is "logits", and the graph gives {found} whose sum is 1; expected '
                'numbers before a softmax; declare kind = "probabilities"'
            )

    def scores(self, feed: Feed) -> NDArray[np.float32]:
        """Give what the graph gives for one tile, shape (1, K, h, w)."""
        given = self._given(feed)
        ports = {port.name: DTYPES[port.type] for port in self._session.get_inputs()}
        taken: Feed = {name: given[name].astype(kind) for name, kind in ports.items()}
        (scores,) = self._session.run([self._ending.given], dict(taken))
        order = (0, 3, 1, 2) if self._declaration.output.layout == "NHWC" else (0, 1, 2, 3)
        ordered: NDArray[np.float32] = np.transpose(scores, order)
        return ordered

    def _map(self, feed: Feed) -> dict[str, NDArray[Any]]:
        scores = torch.tensor(self.scores(feed))
        with torch.inference_mode():
            classes, confidence = self._maps[0](scores)
            probabilities = self._maps[1](scores)
        return {
            "classes": classes.numpy(),
            "confidence": confidence.numpy(),
            "probabilities": probabilities.numpy(),
        }

    def _given(self, feed: Feed) -> dict[str, NDArray[Any]]:
        """Inputs of the graph by name, scaled as declared."""
        aerial, satellite = self._declaration.aerial, self._declaration.satellite
        pixels = _scaled(feed["aerial"] / aerial.divisor, aerial.mean, aerial.std, axis=1)
        if aerial.layout == "NHWC":
            pixels = np.moveaxis(pixels, 1, 3)
        names = [port.name for port in self._session.get_inputs()]
        others = {} if satellite is None else _series(feed, satellite, names)
        rest = [name for name in names if name not in others]
        return {**others, aerial.input or rest[0]: pixels}


def _series(feed: Feed, given: SatelliteInput, names: Collection[str]) -> dict[str, NDArray[Any]]:
    series = feed["satellite"].astype(np.float64)
    if given.layout == "NBhw":
        held = np.maximum(feed["date_mask"].sum(axis=1), 1.0)
        series = series.sum(axis=1) / held[:, None, None, None]
    axis = 1 if given.layout == "NBhw" else 2
    series = _scaled(series * given.scale, given.mean, given.std, axis=axis)
    if given.layout == "NBThw":
        series = np.swapaxes(series, 1, 2)
    found = {given.input: series}
    if given.mask in names:
        mask = feed["date_mask"]
        found[given.mask] = mask if given.mask_means == "present" else 1.0 - mask
    if given.days in names:
        found[given.days] = feed["days"]
    return found


def _scaled(
    values: NDArray[Any], mean: tuple[float, ...], std: tuple[float, ...], *, axis: int
) -> NDArray[Any]:
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    centred = values - np.reshape(mean, shape) if mean else values
    return centred / np.reshape(std, shape) if std else centred
