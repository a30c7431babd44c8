"""Measure how far the aerial branch of an imported model sees, from its ONNX file."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from torch import Tensor, nn

from runtime.manifest import PartSpec
from runtime.onnxruntime_session import OnnxRuntimeSession
from trainkit.models import Part, PartTensor

from ..receptive import STRIDE, Receptive, measure

LEAST_SIDE = 4 * STRIDE
"""Tiles below this have no middle and no surroundings to tell apart."""


class _Module(nn.Module):
    """A part's file, run by ONNX Runtime, as a module."""

    def __init__(self, session: OnnxRuntimeSession, spec: PartSpec) -> None:
        super().__init__()
        self._session = session
        self._spec = spec

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = self._session.run({self._spec.inputs[0].name: image.numpy()})
        return tuple(torch.tensor(found[spec.name]) for spec in self._spec.outputs)


def measure_sight(specs: Sequence[PartSpec], folder: Path, halo: int) -> Receptive:
    """Measure the aerial branch; see `receptive.measure`.

    Where it gives no maps of the tile, such as tokens, or there is no such branch, nothing is
    known of it.

    Args:
        specs: Parts of the model.
        folder: Where their files lie.
        halo: Halo that the bundle will name, in pixels.
    """
    spec = next((spec for spec in specs if spec.role == "aerial"), None)
    if spec is None or not _gives_maps(spec):
        return Receptive(radius_px=None, halo_px=halo, change_beyond_halo=None)
    with closing(OnnxRuntimeSession(folder / spec.file, spec, batch=1, threads=None)) as session:
        part = Part(
            name=spec.name,
            role="aerial",
            module=_Module(session, spec),
            inputs=tuple(
                PartTensor(name=item.name, dtype=torch.uint8, shape=item.with_batch(1)[1:])
                for item in spec.inputs
            ),
            outputs=(),
        )
        return measure([part], halo=halo)


def _gives_maps(spec: PartSpec) -> bool:
    side = spec.inputs[0].with_batch(1)[-1]
    shapes = [item.with_batch(1) for item in spec.outputs]
    return side >= LEAST_SIDE and all(
        len(shape) == 4 and shape[2] == shape[3] and side % shape[2] == 0 for shape in shapes
    )
