"""Say in the manifest of an imported bundle what it was made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.jsonfile import plain
from runtime.manifest import FORMAT_VERSION, Manifest, ModelInfo
from trainkit.checkpoint import utc_now

from ..accuracy import EvalData
from ..describe import LIBRARIES, versions
from ..graph import GraphReport
from ..receptive import Receptive
from ..to_onnx import IR_VERSION, OPSET
from .declaration import Declaration

if TYPE_CHECKING:
    from .imported import ImportOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an import has read and made."""

    name: str
    """Of the bundle."""
    file: str
    """Name of the ONNX file."""
    sha256: str
    producer: str
    """Who wrote the file, by its own account."""
    parameters: int
    graphs: tuple[GraphReport, ...]
    receptive: Receptive
    notes: tuple[str, ...]
    """What was changed of the graph, and what of it is unusual."""
    data: EvalData | None
    """What the bundle is measured on."""


def describe_imported(
    declaration: Declaration, options: "ImportOptions", found: Found, files: Mapping[str, str]
) -> Manifest:
    """Make the manifest of a bundle that is not yet measured.

    Args:
        declaration: What the user says of the ONNX file.
        options: How it was imported.
        found: What was made of it.
        files: sha256 of every file of the bundle by name.
    """
    is_exact = found.receptive.is_covered and declaration.satellite is None
    return Manifest(
        format_version=FORMAT_VERSION,
        name=found.name,
        created=utc_now(),
        segx_version=options.segx_version,
        model=ModelInfo(
            config=declaration.name, parameters=found.parameters, steps=0, imported=True
        ),
        precision="fp32",
        parts=tuple(graph.spec for graph in found.graphs),
        aerial=declaration.aerial_spec(is_exact=is_exact),
        satellite=declaration.satellite_spec(),
        classes=declaration.classes,
        files=dict(files),
        verified=False,
        verdict="not measured",
        licences={
            "weights": options.weights_licence,
            "training data": declaration.training_data_licence,
        },
        provenance={
            "imported": {
                "file": found.file,
                "sha256": found.sha256,
                "producer": found.producer,
                "declaration": plain(declaration),
                "notes": list(found.notes),
            },
            "measured_on": None if found.data is None else found.data.origin(),
            "receptive_field": plain(found.receptive),
            "onnx": {"opset": OPSET, "ir_version": IR_VERSION},
            "simplifier": {graph.spec.name: graph.note for graph in found.graphs},
            "versions": versions(LIBRARIES),
        },
    )
