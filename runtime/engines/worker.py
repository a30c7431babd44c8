"""The program that builds one engine in a process of its own; it is called with a `Job`'s file.

A build may crash, hang or take all memory, and Polygraphy picks TensorRT or TensorRT-RTX when it is
imported, by the environment. Progress goes to standard output, a JSON list in each line; what the
libraries print goes to standard error; how it went goes to a file, as an `Outcome`.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BackendError, DeviceMemoryError, EngineError, SegxError, brief
from ..files import write_bytes
from ..jsonfile import write_json
from ..schema import parse
from .api import (
    Abilities,
    builder_version,
    load_tensorrt,
    make_progress_monitor,
    new_runtime,
    probe,
    set_target,
)
from .inspector import EngineSummary, parse_inspector, require_precision, rounding_note
from .job import Job, Outcome
from .network import check_network
from .profiles import Profile
from .progress import Progress
from .target import ANY_GPU
from .timing import load_timings, save_timings
from .words import Words, is_out_of_memory


def main(path: str) -> None:
    """Build what a job's file says."""
    job = parse(Job, json.loads(Path(path).read_text(encoding="utf-8")), where=path)
    progress = _take_standard_output()
    try:
        outcome = _build(job, progress)
    except SegxError as error:
        outcome = Outcome(error=str(error), kind=type(error).__name__)
    write_json(Path(job.outcome), outcome)


def _take_standard_output() -> Progress:
    """Keep standard output for progress; all else that prints gets to standard error."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(percent: int, phase: str) -> None:
        channel.write(json.dumps([percent, phase]) + "\n")
        channel.flush()

    return Progress(report)


def _build(job: Job, progress: Progress) -> Outcome:
    trt = load_tensorrt(job.target.builder)
    abilities = probe(trt)
    _check_builder(trt, abilities, job)
    words = _listen(job)
    made = _Build(trt, abilities, job, words)
    content = made.run(progress)
    summary = made.inspect(content)
    # Nothing is left of an engine that does not compute as was asked.
    write_bytes(Path(job.engine), content, error=EngineError)
    return Outcome(notes=tuple(made.notes), summary=summary)


def _check_builder(trt: Any, abilities: Abilities, job: Job) -> None:
    version, target = builder_version(trt), job.target
    if version != target.builder_version:
        raise EngineError(
            f"{target.builder} {version} is installed; expected {target.builder_version}, which "
            "the engine is for; install that, or build for the one that is there"
        )
    if not abilities.strongly_typed:
        raise EngineError(
            f"{target.builder} {version} has no strongly typed networks; expected TensorRT 10.3 "
            "or newer, or TensorRT-RTX; update it, on a Jetson with JetPack 6.1 or newer"
        )


def _listen(job: Job) -> Words:
    """Let Polygraphy, which TensorRT logs to, write to the job's log."""
    try:
        from polygraphy.logger import G_LOGGER
    except ImportError as error:
        raise BackendError(
            f"Polygraphy cannot be imported ({brief(error)}); expected it beside TensorRT; install "
            "it with `pip install 'segx[tensorrt]'`"
        ) from error
    G_LOGGER.colors = False
    G_LOGGER.log_file = job.log
    return Words(Path(job.log))


class _Build:
    """One build."""

    def __init__(self, trt: Any, abilities: Abilities, job: Job, words: Words) -> None:
        self._trt = trt
        self._abilities = abilities
        self._job = job
        self._words = words
        self.notes: list[str] = []

    def run(self, progress: Progress) -> bytes:
        """Build the engine."""
        from polygraphy.backend.trt import EngineBytesFromNetwork, NetworkFromOnnxPath

        job = self._job
        with self._asking("read"):
            made = NetworkFromOnnxPath(job.onnx, strongly_typed=True)()
        builder, network, _ = made
        check_network(network, job.part)
        with self._asking("build"):
            config = self._configure(builder, network)
            if self._abilities.progress_monitor:
                monitor = make_progress_monitor(self._trt, progress)  # the builder does not keep it
                config.progress_monitor = monitor
            content = bytes(EngineBytesFromNetwork(made, config=config)())
            if job.timing_cache and self._abilities.timing_cache:
                self._note(save_timings(config, Path(job.timing_cache)))
        return content

    def _configure(self, builder: Any, network: Any) -> Any:
        """Make the configuration.

        Not by Polygraphy's `CreateConfig`, which uses a timing cache with every builder that has
        the names, and knows no mismatch of it.
        """
        trt, job = self._trt, self._job
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, job.workspace_mib << 20)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # for the inspector
        # On by default, TF32 rounds FP32 to 10 bits, as FP16 does: FP32 is to be FP32.
        config.clear_flag(trt.BuilderFlag.TF32)
        if job.optimization_level is not None:
            config.builder_optimization_level = job.optimization_level
        config.add_optimization_profile(_profile(job.profile).to_trt(builder, network))
        set_target(trt, self._abilities, config, job.target)
        if job.timing_cache and self._abilities.timing_cache:
            self._note(load_timings(config, Path(job.timing_cache), self._words.warnings))
        return config

    def inspect(self, content: bytes) -> EngineSummary | None:
        """Look at the layers of the engine, where it can be opened.

        Raises:
            EngineError: If they do not compute in the precision of the part.
        """
        from polygraphy.backend.trt import get_trt_logger

        trt, job = self._trt, self._job
        try:
            runtime = new_runtime(trt, get_trt_logger())
            engine = runtime.deserialize_cuda_engine(content)
            if engine is None:
                if job.target.gpu != ANY_GPU:
                    self._note(f"the engine's layers are not known: {self._words.errors()}")
                return None
            asked = engine.create_engine_inspector()
            if asked is None:
                raise EngineError(f"TensorRT gave no inspector: {self._words.errors()}")
            summary = parse_inspector(asked.get_engine_information(trt.LayerInformationFormat.JSON))
        except (EngineError, RuntimeError) as error:
            self._note(f"the engine's layers are not known: {brief(error)}")
            return None
        require_precision(summary, job.part)
        self._note(rounding_note(summary))
        return summary

    def _note(self, text: str) -> None:
        if text:
            self.notes.append(text)

    @contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        """Turn failures of the libraries into errors of ours, with their own words."""
        try:
            yield
        except SegxError:
            raise
        # Polygraphy and the bindings raise classes without a common base; the log says why.
        except Exception as error:
            raise self._failure(what, self._words.errors() or brief(error)) from error

    def _failure(self, what: str, said: str) -> SegxError:
        job = self._job
        found = (
            f"{job.target.builder} {job.target.builder_version} cannot {what} part "
            f"'{job.part.name}' for {job.target.sm} ({said})"
        )
        if is_out_of_memory(said):
            return DeviceMemoryError(
                f"{found}; expected more free memory; close other programs, or run the bundle with "
                "`--backend openvino`"
            )
        if what == "read":
            return EngineError(
                f"{found}; expected a graph of operators and types that it has; export the bundle "
                "again, or run it with `--backend openvino`"
            )
        if "workspace" in said.lower():
            return EngineError(
                f"{found}; expected more than {job.workspace_mib} MiB of workspace; give more with "
                f"`segx export BUNDLE --engine {job.target.builder} --workspace MIB`"
            )
        return EngineError(
            f"{found}; expected an engine; see `segx doctor`, or run the bundle with "
            "`--backend openvino`"
        )


def _profile(profile: Profile) -> Any:
    from polygraphy.backend import trt

    made = trt.Profile()
    for name, shapes in profile.items():
        made.add(name, min=shapes.min, opt=shapes.opt, max=shapes.max)
    return made


if __name__ == "__main__":
    main(sys.argv[1])
