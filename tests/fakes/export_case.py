"""What exports and conversions give, made up: no graph is traced and nothing is quantised."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from calibration.pairs import PairCheck
from calibration.record import Basis, Record
from calibration.selection import Coverage, Selection
from exporter.accuracy import Verdict
from exporter.attempts import Found
from exporter.convert import Converted
from exporter.export import Exported
from exporter.graph import GraphReport
from exporter.parity import TOLERANCES, Ledger, Row, Stage, agree
from exporter.plan import Recipe
from exporter.proof import MacShares
from exporter.quantize import WorkerReport
from exporter.workshop import ConvertedPart
from runtime.bundle import open_bundle
from runtime.manifest import Accuracy


def exported(path: Path, *, missed: bool = False) -> Exported:
    """What the export of a bundle gives that is there already."""
    bundle = open_bundle(path)
    accuracy = Accuracy(
        dataset="flair2",
        split="val",
        patches=4,
        miou=0.4,
        accuracy=0.6,
        scored_classes=9,
        iou={},
        reference_miou=0.41 if missed else 0.4,
        executed="openvino fp32",
    )
    graphs = tuple(
        GraphReport(spec=part, nodes=7, size_mib=0.5, found_precision="fp32", note="simplified")
        for part in bundle.manifest.parts
    )
    ones = {"aerial_logits": np.ones((1, 2, 3, 3), np.float32)}
    row = Row(part="aerial", sample="a", agreement=agree(ones, ones), misses=())
    stage = Stage(
        reference="PyTorch", candidate="ONNX Runtime", tolerance=TOLERANCES["fp32"], rows=(row,)
    )
    return Exported(
        bundle=replace(bundle, manifest=replace(bundle.manifest, accuracy=accuracy)),
        graphs=graphs,
        ledger=Ledger(source="data", samples=("a",), stages=(stage,)),
        verdict=Verdict(verified=not missed, missed=missed, text="the verdict"),
    )


def converted(path: Path) -> Converted:
    """What its conversion to INT8 gives, which misses its budgets."""
    found = exported(path)
    manifest = replace(found.bundle.manifest, provenance={"conversion": {"plan": "aerial=int8"}})
    spec = manifest.parts[0]
    part = ConvertedPart(
        spec=replace(spec, precision="int8"),
        path=path / spec.file,
        emulation=path / spec.file,
        kept={"node": "a reason"},
        shares=MacShares(int8=0.75, fp16=0.25, fp32=0.0),
        ranges=None,
        worker=WorkerReport(seconds=1.5, peak_rss_mib=700.0, quantized=3, half=2, kept=1),
    )
    return Converted(
        bundle=replace(found.bundle, manifest=manifest),
        parts=(part,),
        search=Found(
            plan={"aerial": Recipe(precision="int8")},
            precision="int8",
            attempts=(),
            latencies=(),
            int8=None,
            text="the plan keeps to its budgets as it is",
        ),
        record=Record(
            basis=Basis(fingerprint="", preprocessing="", sources={}, segx_version="0.1.0"),
            selection=Selection(
                dataset="flair2",
                split="train",
                areas=(),
                seed=0,
                ids=("a",),
                coverage=Coverage(pool=1, surveyed=1, classes={}, areas={}, cloudiness={}),
            ),
            method="entropy",
            pairs=PairCheck(
                samples=1, blank_aerial=0, blank_satellite=0, not_checked="few", fit=None
            ),
            versions={},
        ),
        ledger=found.ledger,
        gate=None,
        verdict=Verdict(verified=False, missed=True, text="int8 misses its budgets"),
    )
