"""Turn a ready ONNX file and its declaration into an FP32 bundle.

    ONNX file -> one graph on the bundle's inputs -> branches and fusion
              -> rules, parity with the original, receptive field, golden sample
              -> accuracy where there is data -> manifest, last

Nothing has the bundle's name before all of this has passed.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto
from torch import nn

from runtime.backends import choose_backend
from runtime.bundle import SUFFIX, Bundle, sha256_of
from runtime.errors import BundleError, ConfigError
from runtime.evaluate import check_classes
from runtime.manifest import PartSpec, TensorSpec
from runtime.part_shapes import BATCH
from trainkit.models import Part, PartTensor

from ..accuracy import EvalData, judge, measure
from ..export import Exported
from ..graph import GraphReport, part_spec, write_graph
from ..lint import IMPORTED, lint
from ..merge import NAMES
from ..merge_graph import is_merged, merge_graphs, merged_spec
from ..package import check_target, hashes, publish, staging, write_evidence
from ..samples import choose_samples, random_feed
from ..stages import BACKENDS
from ..to_onnx import part_to_onnx
from ..watch import SILENT, Steps, Watch
from .declaration import Declaration
from .describe import Found, describe_imported
from .ending import Ending, find_ending
from .original import ORIGINAL_NAME, Original
from .read import read_model
from .scores import map_parts
from .sight import measure_sight
from .sizes import Settled, settle
from .split import Piece, inputs_of, split
from .stages import check_imported, run_pair
from .wrap import wrap

FEWEST_CELLS = 2
"""Rows and columns of the scores at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """What an import is started with beside its file, its declaration and its data."""

    segx_version: str
    weights_licence: str = "as the maker of the ONNX file says; ask before you pass them on"
    parity_samples: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A bundle and what was found on the way."""

    exported: Exported
    notes: tuple[str, ...]
    """What was changed of the graph, and what of it is unusual."""


def import_onnx(
    source: Path,
    declaration: Declaration,
    out: Path,
    options: ImportOptions,
    *,
    data: EvalData | None = None,
    watch: Watch = SILENT,
) -> Imported:
    """Write the bundle of a ready ONNX file.

    Args:
        source: The ONNX file; weights may lie beside it.
        declaration: What it takes and gives.
        out: The bundle's folder, `NAME.segx`. A bundle that is there is replaced at the very end.
        options: How to import.
        data: Patches for parity and accuracy; without them parity uses random numbers, and the
            bundle is not verified.
        watch: What to tell.

    Raises:
        BundleError: If `out` cannot be a bundle, or the graph is damaged, or one that no bundle
            can hold.
        ConfigError: If the declaration does not fit the graph.
        ParityError: If the parts give other numbers than the original.
        DataError: If the data is damaged, has no labels, or other classes.
    """
    check_target(out)
    if data is not None:
        check_classes(declaration.classes, data.dataset.classes, str(data.dataset.root))
    model = read_model(source)
    ending = find_ending(model, declaration.output)
    whole = wrap(model, declaration, ending)
    sampler = taker(whole)
    samples = choose_samples((sampler,), declaration.card(), data, options.parity_samples)
    settled = settle(whole, random_feed((sampler,), batch=2, seed=0))
    _require_classes(settled, declaration)
    pieces = split(settled.model, _scores(whole, settled, ending))
    parts = sum(piece.spec.role != "fusion" for piece in pieces) + len(NAMES)
    step = Steps(watch, parts + 2 + len(BACKENDS) * len(samples.feeds))
    step(f"{source.name} read")
    with staging(out) as folder, tempfile.TemporaryDirectory(prefix="segx-import-") as scratch:
        original = Original(model, declaration, ending, Path(scratch))
        original.check(next(iter(samples.feeds.values())))
        name = out.name.removesuffix(SUFFIX)
        metadata = {"segx.bundle": name, "segx.version": options.segx_version}
        graphs = _write(pieces, declaration, ending, folder, metadata, step)
        specs = [graph.spec for graph in graphs]
        sight = measure_sight(specs, folder, declaration.aerial.chosen_halo)
        step("receptive field measured")
        checked = check_imported(original, specs, folder, samples, step)
        write_evidence(folder, checked.ledger, checked.feed, checked.outputs)
        found = Found(
            name=name,
            file=source.name,
            sha256=sha256_of(source),
            producer=f"{model.producer_name} {model.producer_version}".strip(),
            parameters=_parameters(model),
            graphs=graphs,
            receptive=sight,
            notes=_notes(settled, ending, specs, folder),
            data=data,
        )
        draft = describe_imported(declaration, options, found, hashes(folder))
        accuracy = None
        if data is not None:
            bundle = Bundle(folder, draft, sha256="")
            accuracy = measure(bundle, original, data, choose_backend(), on_patch=watch.on_patch)
        verdict = judge({}, data, accuracy, reference=f"the {ORIGINAL_NAME}")
        manifest = replace(
            draft, accuracy=accuracy, verified=verdict.verified, verdict=verdict.text
        )
        bundle = publish(folder, manifest, out)
    exported = Exported(bundle=bundle, graphs=graphs, ledger=checked.ledger, verdict=verdict)
    return Imported(exported=exported, notes=found.notes)


def taker(whole: ModelProto) -> Part:
    """Give something that takes what a graph takes, to make feeds for."""
    inputs = tuple(_tensor(spec) for spec in inputs_of(whole))
    return Part(name="model", role="aerial", module=nn.Identity(), inputs=inputs, outputs=())


def _tensor(spec: TensorSpec) -> PartTensor:
    dtype = torch.uint8 if spec.dtype == "uint8" else torch.float32
    return PartTensor(name=spec.name, dtype=dtype, shape=spec.with_batch(1)[1:])


def _require_classes(settled: Settled, declaration: Declaration) -> None:
    _, found, rows, cols = settled.scores
    count, side = len(declaration.classes), declaration.aerial.tile_size
    if found != count and not (found == 1 and count == 2):
        raise ConfigError(
            f"the graph tells {found} classes apart, and {count} are declared; expected as many, "
            "or two for a graph of one channel; correct [[classes]] or output.layout"
        )
    if rows != cols or not FEWEST_CELLS <= rows <= side:
        raise BundleError(
            f"the scores have {rows} x {cols} px for a tile of {side}; expected a square of at "
            f"most {side}; correct output.output or output.layout"
        )


def _scores(whole: ModelProto, settled: Settled, ending: Ending) -> TensorSpec:
    inputs = {value.name for value in whole.graph.input}
    prefix = "fused" if "satellite" in inputs else "aerial"
    shape: tuple[int | str, ...] = (BATCH, *settled.scores[1:])
    return TensorSpec(name=f"{prefix}_{ending.scores_kind}", dtype="float32", shape=shape)


def _write(
    pieces: Sequence[Piece],
    declaration: Declaration,
    ending: Ending,
    folder: Path,
    metadata: Mapping[str, str],
    step: Steps,
) -> tuple[GraphReport, ...]:
    """Write every part, and prove each on a batch of two."""
    last = pieces[-1]
    (scores,) = last.spec.outputs
    maps = map_parts(
        _tensor(scores),
        ending.scores_kind,
        classes=len(declaration.classes),
        side=declaration.aerial.tile_size,
    )
    branches = [piece for piece in pieces if piece.spec.role != "fusion"]
    todo = [(piece.model, piece.spec) for piece in branches]
    todo += [_with_map(last, part, len(branches)) for part in maps]
    pair: dict[str, NDArray[Any]] = dict(_pair(branches or [last]))
    graphs = []
    for model, spec in todo:
        feed = {item.name: pair[item.name] for item in spec.inputs}
        graph = write_graph(model, spec, folder, feed, metadata, allowed=IMPORTED)
        pair.update(run_pair(spec, folder / spec.file, pair))
        graphs.append(graph)
        step(f"{spec.file} written")
    return tuple(graphs)


def _pair(pieces: Sequence[Piece]) -> Mapping[str, NDArray[Any]]:
    """Two random tiles."""
    parts = [
        Part(
            name=piece.spec.name,
            role="aerial",
            module=nn.Identity(),
            inputs=tuple(map(_tensor, piece.spec.inputs)),
            outputs=(),
        )
        for piece in pieces
    ]
    return random_feed(parts, batch=2, seed=1)


def _with_map(last: Piece, part: Part, branches: int) -> tuple[ModelProto, PartSpec]:
    """Put a class map behind what gives the scores, if that is no branch itself."""
    traced, spec = part_to_onnx(part), part_spec(part)
    if last.spec.role != "fusion":
        return traced, spec
    name = spec.name
    if not branches and spec.variant is not None:
        name = NAMES[spec.variant]
    parts = (replace(last.spec, name="joint"), spec)
    model = merge_graphs(parts, {"joint": last.model, spec.name: traced})
    return model, merged_spec(parts, name)


def _parameters(model: ModelProto) -> int:
    floats = [item for item in model.graph.initializer if item.data_type == TensorProto.FLOAT]
    return int(sum(np.prod(item.dims, dtype=np.int64) for item in floats))


def _notes(
    settled: Settled, ending: Ending, specs: Sequence[PartSpec], folder: Path
) -> tuple[str, ...]:
    notes = [*ending.notes, *settled.notes]
    for spec in specs:
        found = lint(onnx.load(folder / spec.file), spec)
        for rule in sorted(IMPORTED):
            texts = [finding.text for finding in found if finding.rule == rule]
            if texts:
                more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
                notes.append(f"{spec.name} keeps {texts[0]}{more}")
    if is_merged(specs):
        notes.append("the inputs cannot be split: one part, which stays in FP32")
    return tuple(notes)
