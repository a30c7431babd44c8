"""Compare the original ONNX file with the parts that were made of it, and these with each other.

original (ONNX Runtime) --> parts (ONNX Runtime)      whole: the original has no parts
                        --> parts (OpenVINO)          part by part
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path

import numpy as np

from runtime.errors import BundleError, brief
from runtime.manifest import PartSpec
from runtime.onnxruntime_session import OnnxRuntimeSession

from ..merge_graph import merged_spec
from ..parity import TOLERANCES, Arrays, Ledger, Runner, agree, compare, extended, misses
from ..runners import SessionRunner, files_in
from ..samples import Feed, Samples
from ..stages import BACKENDS, Checked, class_map
from .original import ORIGINAL_NAME, Original

REMEDY = "correct the declaration, or export the model with another version of its exporter"


def check_imported(
    original: Original,
    specs: Sequence[PartSpec],
    folder: Path,
    samples: Samples,
    on_sample: Callable[[str], None] = lambda note: None,
) -> Checked:
    """Compare every stage with the one before.

    Args:
        original: The stranger's graph.
        specs: The parts as the manifest says them.
        folder: Where their ONNX files lie.
        samples: What they are compared on.
        on_sample: Called after every sample of every stage.

    Raises:
        ParityError: If two stages differ by more than their tolerance.
    """
    feeds = samples.feeds
    with ExitStack() as opened:
        runners = {
            label: SessionRunner(backend, files_in(folder, specs), specs)
            for backend, label in BACKENDS.items()
        }
        for runner in runners.values():
            opened.callback(runner.close)
        (first, parts), (second, others) = runners.items()
        stage = compare(
            _whole(specs),
            feeds,
            (ORIGINAL_NAME, lambda name, feed: original.run(feed)),
            (first, _chained(parts, specs)),
            on_sample=partial(on_sample, f"{first} compared with the {ORIGINAL_NAME}"),
        )
        ledger = Ledger(source=samples.source, samples=tuple(feeds), stages=())
        ledger = extended(ledger, stage, REMEDY)
        note = partial(on_sample, f"{second} compared with {first}")
        stage = compare(specs, feeds, (first, parts), (second, others), on_sample=note)
        ledger = extended(ledger, stage, REMEDY)
        feed = next(iter(feeds.values()))
        return Checked(ledger=ledger, feed=feed, outputs=class_map(parts, specs, feed))


def _whole(specs: Sequence[PartSpec]) -> tuple[PartSpec, ...]:
    """The whole model as one part for each kind of result."""
    variants = dict.fromkeys(spec.variant for spec in specs if spec.variant)
    return tuple(
        merged_spec([spec for spec in specs if spec.variant in (None, variant)], variant)
        for variant in variants
    )


def _chained(runner: Runner, specs: Sequence[PartSpec]) -> Runner:
    def run(variant: str, feed: Arrays) -> Arrays:
        known = dict(feed)
        for spec in specs:
            if spec.variant in (None, variant):
                known.update(
                    runner(spec.name, {item.name: known[item.name] for item in spec.inputs})
                )
        return known

    return run


def run_pair(spec: PartSpec, path: Path, pair: Arrays) -> Feed:
    """Run a part on a batch of two, and prove that it gives what it gives for each alone.

    Args:
        spec: The part.
        path: Its ONNX file.
        pair: Inputs of a batch of two; it may hold more than the part takes.

    Returns:
        Outputs of both.

    Raises:
        BundleError: If the items of a batch are mixed.
    """
    feed = {item.name: pair[item.name] for item in spec.inputs}
    try:
        with closing(OnnxRuntimeSession(path, spec, batch=2, threads=None)) as session:
            together = session.run(feed)
        with closing(OnnxRuntimeSession(path, spec, batch=1, threads=None)) as session:
            alone = [session.run(_item(feed, index)) for index in range(2)]
    except BundleError:
        raise
    except Exception as error:  # its exception classes are private and share no base
        raise BundleError(
            f"the graph of part '{spec.name}' does not run on a batch of 2 ({brief(error)}); "
            "expected any batch; export the model again with a batch that varies"
        ) from error
    apart = {name: np.concatenate([item[name] for item in alone]) for name in together}
    missed = misses(agree(apart, together), TOLERANCES["fp32"])
    if missed:
        raise BundleError(
            f"part '{spec.name}' gives other numbers for a batch of 2 than for each tile alone "
            f"({missed[0]}); expected the same; export the model in evaluation mode, with a batch "
            "that varies"
        )
    return together


def _item(feed: Arrays, index: int) -> Feed:
    return {name: np.ascontiguousarray(array[index : index + 1]) for name, array in feed.items()}
