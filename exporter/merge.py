"""Make a bundle whose parts are merged into one graph for every kind of result.

    aerial, satellite, fusion                 --> merged                  class map and confidence
    aerial, satellite, fusion_probabilities   --> merged_probabilities

The weights, their precision and what was measured stay as they are: the merged graph must give
the very numbers that the parts give. What it buys is one engine instead of several; what it costs
is that the satellite branch can no longer be run, timed or kept by itself.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from runtime.bundle import SUFFIX, Bundle
from runtime.errors import BundleError
from runtime.jsonfile import write_json
from runtime.manifest import FORMAT_VERSION, Manifest, PartSpec, Variant
from trainkit.checkpoint import utc_now

from .accuracy import Verdict
from .describe import LIBRARIES, versions
from .graph import GraphReport
from .lint import allowed_rules, lint
from .lint_precision import found_precision
from .merge_graph import is_merged, merge_graphs, merged_spec
from .merge_parity import UNMERGED, check_merged
from .package import PARITY_NAME, check_target, hashes, publish, staging
from .parity import Ledger
from .to_onnx import finish
from .watch import SILENT, Steps, Watch

NAMES: dict[Variant, str] = {"classes": "merged", "probabilities": "merged_probabilities"}
"""Name of the merged part that ends in each kind of result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A bundle and what was found on the way."""

    bundle: Bundle
    graphs: tuple[GraphReport, ...]
    ledger: Ledger
    verdict: Verdict


def merge(source: Bundle, out: Path, *, segx_version: str, watch: Watch = SILENT) -> Merged:
    """Write the bundle whose parts are merged.

    Args:
        source: A bundle of any precision.
        out: The new bundle's folder, `NAME.segx`. A bundle that is there is replaced at the very
            end.
        segx_version: For the manifest.
        watch: What to tell.

    Raises:
        BundleError: If `out` cannot be a bundle, the parts are merged already, or the merged graph
            breaks a rule.
        ParityError: If the merged graph gives other numbers than the parts.
    """
    check_target(out)
    _check_source(source, out)
    name = out.name.removesuffix(SUFFIX)
    variants = [v for v in NAMES if any(part.variant == v for part in source.manifest.parts)]
    step = Steps(watch, len(variants) + 2)
    with staging(out) as folder:
        graphs = []
        for variant in variants:
            metadata = {"segx.bundle": name, "segx.version": segx_version}
            graphs.append(_write_graph(source, folder, variant, metadata))
            step(f"{graphs[-1].spec.file} written")
        specs = tuple(graph.spec for graph in graphs)
        ledger = check_merged(source, specs, folder)
        step("merged graphs compared with the parts")
        _keep_files(source, folder)
        write_json(folder / PARITY_NAME, ledger)
        manifest = _describe(source, specs, name, segx_version)
        bundle = publish(folder, replace(manifest, files=hashes(folder)), out)
        step("bundle written")
    verdict = Verdict(verified=manifest.verified, missed=False, text=manifest.verdict)
    return Merged(bundle=bundle, graphs=tuple(graphs), ledger=ledger, verdict=verdict)


def _check_source(source: Bundle, out: Path) -> None:
    if is_merged(source.manifest.parts):
        raise BundleError(
            f"{source.path} is merged already; expected a bundle of several parts; use it as it is"
        )
    if out.resolve() == source.path.resolve():
        raise BundleError(
            f"{out} is the bundle that is merged; expected another name; change --out"
        )


def _write_graph(
    source: Bundle, folder: Path, variant: Variant, metadata: Mapping[str, str]
) -> GraphReport:
    parts = source.manifest.parts_for(variant)
    spec = merged_spec(parts, NAMES[variant])
    joined = merge_graphs(parts, {part.name: onnx.load(source.file(part)) for part in parts})
    model = finish(joined, {"segx.part": spec.name, **metadata})
    _require_clean(model, spec, source)
    path = folder / spec.file
    onnx.save(model, path)
    return GraphReport(
        spec=spec,
        nodes=len(model.graph.node),
        size_mib=path.stat().st_size / 2**20,
        found_precision=found_precision(model),
        note=f"merged from {', '.join(part.name for part in parts)}",
    )


def _require_clean(model: onnx.ModelProto, spec: PartSpec, source: Bundle) -> None:
    """Check every rule but that of the precision, which was proven part by part.

    A model whose aerial branch is in INT8 need not have half of all its work there.
    """
    conversion = source.manifest.provenance.get("conversion")
    wanted = isinstance(conversion, dict) and bool(conversion.get("quantize_transposed"))
    allowed = allowed_rules(source.manifest) | {"precision"}
    findings = [f for f in lint(model, spec, transposed=wanted) if f.rule not in allowed]
    if findings:
        raise BundleError(
            f"the merged graph '{spec.name}' breaks the rule '{findings[0].rule}': "
            f"{findings[0].text}; {UNMERGED}"
        )


def _keep_files(source: Bundle, folder: Path) -> None:
    """Copy what stays true of the bundle: golden tile, calibration, gate, ranges."""
    graphs = {part.file for part in source.manifest.parts}
    for name in source.manifest.files:
        if name not in graphs | {PARITY_NAME}:
            shutil.copyfile(source.path / name, folder / name)


def _describe(
    source: Bundle, specs: tuple[PartSpec, ...], name: str, segx_version: str
) -> Manifest:
    """Say what the merged bundle is; its files are not hashed yet."""
    old = source.manifest
    origin = {
        "source": {"name": old.name, "sha256": source.sha256},
        "parts": [part.name for part in old.parts],
        "versions": versions(LIBRARIES),
    }
    return replace(
        old,
        format_version=FORMAT_VERSION,
        name=name,
        created=utc_now(),
        segx_version=segx_version,
        parts=specs,
        files={spec.file: "" for spec in specs},
        verdict=f"{old.verdict}; parts merged from bundle {old.name} ({source.sha256[:12]})",
        provenance={**old.provenance, "merged": origin},
    )
