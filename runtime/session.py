"""The seam between segx and the inference libraries: an opened part that can be run."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import BundleError, FeedError
from .manifest import PartSpec, TensorSpec

ExecutedPrecision = Literal["fp32", "fp16", "bf16", "int8+fp16", "int8+bf16", "int8+fp32"]
"""What is really computed in; operators between INT8 ones in what follows the plus.

Of bundles in FP16 or INT8, OpenVINO makes BF16 (beside INT8) where the CPU has it, else FP32. ONNX
Runtime computes in FP32 on the CPU, and rounds where the graph says; on a GPU it computes FP16 and
INT8 bundles in FP16. TensorRT computes in what the graph says.
"""


class Session(Protocol):
    """An opened part."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Inputs, with the batch that the session was opened for filled in."""

    @property
    def precision(self) -> ExecutedPrecision:
        """Precision that the backend computes in."""

    def run(self, feed: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Run the part once.

        The arrays returned may be overwritten by the next call.

        Raises:
            FeedError: If a name, dtype or shape is not that of the inputs.
        """

    def close(self) -> None:
        """Give memory back; the session cannot be run any more."""


def check_feed(inputs: tuple[TensorSpec, ...], feed: Mapping[str, NDArray[Any]]) -> None:
    """Check arrays against a session's inputs.

    Raises:
        FeedError: Naming the first input that is missing, superfluous or of another kind.
    """
    expected = {spec.name: spec for spec in inputs}
    for name in sorted(set(expected) | set(feed)):
        if name not in feed:
            raise _unfit(f"input '{name}' is missing", ", ".join(expected))
        if name not in expected:
            raise _unfit(f"input '{name}' is not known", ", ".join(expected))
        array, spec = feed[name], expected[name]
        if array.dtype != np.dtype(spec.dtype):
            raise _unfit(f"input '{name}' is {array.dtype}", spec.dtype)
        if array.shape != spec.shape:
            raise _unfit(f"input '{name}' has shape {array.shape}", str(spec.shape))


def check_names(
    path: Path, part: PartSpec, inputs: Collection[str], outputs: Collection[str]
) -> None:
    """Check that a graph has the inputs and outputs that the manifest says it has.

    Raises:
        BundleError: If they differ.
    """
    taken, given = {spec.name for spec in part.inputs}, {spec.name for spec in part.outputs}
    if taken != set(inputs) or not given <= set(outputs):
        raise BundleError(
            f"{path} maps {', '.join(sorted(inputs))} to {', '.join(sorted(outputs))}; expected "
            f"{', '.join(sorted(taken))} to {', '.join(sorted(given))} as the manifest says; "
            "export the bundle again"
        )


def _unfit(found: str, expected: str) -> FeedError:
    return FeedError(f"{found}; expected {expected}; give the tile that the manifest describes")
