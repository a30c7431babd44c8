"""Turn a checkpoint into a bundle.

    checkpoint -> parts -> ONNX graphs        folded, simplified, checked against rules
                        -> parity             PyTorch, ONNX Runtime, OpenVINO on real samples
                        -> golden sample      for the self-test of every device
                        -> accuracy           mIoU through the bundle and of the checkpoint
                        -> manifest           last; then the folder gets its name

Nothing has that name before all of this has passed.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from runtime.backends import choose_backend
from runtime.bundle import SUFFIX, Bundle
from runtime.manifest import Accuracy
from trainkit.checkpoint import Checkpoint
from trainkit.torch_model import TorchModel

from . import receptive
from .accuracy import EvalData, Verdict, judge, measure
from .describe import Contents, describe
from .graph import GraphReport, write_graphs
from .options import ExportOptions
from .package import check_target, hashes, publish, staging, write_evidence
from .parity import Ledger
from .samples import choose_samples
from .stages import BACKENDS, check_stages
from .watch import SILENT, Steps, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A bundle and what was found on the way."""

    bundle: Bundle
    graphs: tuple[GraphReport, ...]
    ledger: Ledger
    verdict: Verdict


def export(
    checkpoint: Checkpoint,
    out: Path,
    options: ExportOptions,
    *,
    data: EvalData | None = None,
    watch: Watch = SILENT,
) -> Exported:
    """Write the bundle of a checkpoint.

    Args:
        checkpoint: The trained model.
        out: The bundle's folder, `NAME.segx`. A bundle that is there is replaced at the very end.
        options: How to export.
        data: Patches for parity and accuracy; without them parity uses random numbers, and the
            bundle is not verified.
        watch: What to tell.

    Raises:
        BundleError: If `out` cannot be a bundle, or a graph breaks a rule.
        ParityError: If two stages differ by more than their tolerance.
        DataError: If the data is damaged, has no labels, or other classes.
    """
    check_target(out)
    parts, card = checkpoint.model.parts(), checkpoint.card
    samples = choose_samples(parts, card, data, options.parity_samples)
    step = Steps(watch, len(parts) + 1 + len(BACKENDS) * len(samples.feeds))
    with staging(out) as folder:
        name = out.name.removesuffix(SUFFIX)
        graphs = write_graphs(parts, folder, name, options, on_part=step)
        sight = receptive.measure(parts, halo=card.aerial.halo)
        step("receptive field measured")
        checked = check_stages(parts, [graph.spec for graph in graphs], folder, samples, step)
        write_evidence(folder, checked.ledger, checked.feed, checked.outputs)
        contents = Contents(name=name, options=options, graphs=graphs, receptive=sight, data=data)
        draft = describe(checkpoint, contents, hashes(folder))
        accuracy = _accuracy(checkpoint, Bundle(folder, draft, sha256=""), data, watch)
        verdict = judge(checkpoint.info.steps, data, accuracy)
        manifest = replace(
            draft, accuracy=accuracy, verified=verdict.verified, verdict=verdict.text
        )
        bundle = publish(folder, manifest, out)
    return Exported(bundle=bundle, graphs=graphs, ledger=checked.ledger, verdict=verdict)


def _accuracy(
    checkpoint: Checkpoint, bundle: Bundle, data: EvalData | None, watch: Watch
) -> Accuracy | None:
    """Measure trained weights; there is nothing to learn from random ones."""
    if data is None or not all(checkpoint.info.steps.values()):
        return None
    reference = TorchModel(checkpoint.model)
    return measure(bundle, reference, data, choose_backend(), on_patch=watch.on_patch)
