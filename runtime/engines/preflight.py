"""Find out whether an engine fits before TensorRT sees it, and say why if it does not.

TensorRT itself has no such check: it gives no engine, and a line in its log.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError
from .files import read_plain
from .record import EngineRecord
from .target import ANY_GPU, EngineBuilder, Target

TITLES: dict[EngineBuilder, str] = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}

_WORDS = {"graph": "from", "builder": "by", "platform": "on", "device": "for", "shapes": "with"}
"""What precedes a thing in a sentence on how an engine was built."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """One thing in which an engine is not the one that is needed."""

    what: str
    """`graph`, `builder`, `platform`, `device` or `shapes`."""
    found: str
    needed: str


def compare(
    record: EngineRecord, *, onnx_sha256: str, target: Target, profile: str
) -> tuple[Mismatch, ...]:
    """Compare an engine with what is needed.

    Args:
        record: What is known of the engine.
        onnx_sha256: Hash of the part's graph.
        target: Builder and device that it is needed for.
        profile: Shapes that it must take, as `profiles.profile_text` writes them.

    Returns:
        Everything that differs; nothing if the engine fits.
    """
    built = record.target
    same_builder = (built.builder, built.builder_version) == (
        target.builder,
        target.builder_version,
    )
    rows = (
        (
            "graph",
            record.onnx_sha256 == onnx_sha256,
            _graph(record.onnx_sha256),
            _graph(onnx_sha256),
        ),
        ("builder", same_builder, builder_text(built), builder_text(target)),
        ("platform", built.platform == target.platform, built.platform, target.platform),
        ("device", _runs_on(built, target), device_text(built), device_text(target)),
        ("shapes", record.profile == profile, _shapes(record.profile), _shapes(profile)),
    )
    return tuple(
        Mismatch(what=what, found=found, needed=needed)
        for what, same, found, needed in rows
        if not same
    )


def _runs_on(built: Target, target: Target) -> bool:
    """Tell whether an engine runs on a device: its own, or any of its compute capability."""
    any_gpu = built.builder == "tensorrt-rtx" and built.gpu == ANY_GPU
    same_gpu = any_gpu or built.gpu == target.gpu
    return same_gpu and built.compute_capability == target.compute_capability


def _graph(sha256: str) -> str:
    return f"the graph {sha256[:12]}..."


def _shapes(profile: str) -> str:
    """Write shapes without semicolons, which divide the parts of a message."""
    return profile.replace(";", " and")


def builder_text(target: Target) -> str:
    """Name a builder and its version, such as `TensorRT 10.3.0`."""
    return f"{TITLES[target.builder]} {target.builder_version}"


def device_text(target: Target) -> str:
    """Name a device, such as `sm_87 (Orin)`."""
    return f"{target.sm} ({'any GPU' if target.gpu == ANY_GPU else target.gpu})"


def explain(record: EngineRecord, mismatches: Sequence[Mismatch], remedy: str) -> str:
    """Say in one line how an engine was built, what is needed, and what to do.

    Args:
        record: What is known of the engine.
        mismatches: What differs, from `compare`; at least one.
        remedy: What to do about it, with the command.
    """
    built = " ".join(f"{_WORDS[item.what]} {item.found}" for item in mismatches)
    needed = [item.needed for item in mismatches]
    expected = " and ".join(filter(None, [", ".join(needed[:-1]), needed[-1]]))
    return f"engine of {record.name} was built {built}; expected {expected}; {remedy}"


def verify_file(record: EngineRecord, folder: Path) -> bytes:
    """Read an engine once, and check what was read against its record.

    Args:
        record: What is known of the engine.
        folder: Where it lies.

    Returns:
        The bytes that were checked: these, and not the file again, go to TensorRT.

    Raises:
        EngineError: If the file is missing, a link, cannot be read, or is not the one recorded.
    """
    path = folder / record.file
    try:
        content = read_plain(path, most=record.size_bytes)
    except FileNotFoundError as error:
        raise EngineError(
            f"{path} is missing; expected it, since its record is there; build the engine of "
            f"{record.name} again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != record.engine_sha256:
        raise EngineError(
            f"{path} has sha256 {found[:12]}...; expected {record.engine_sha256[:12]}... as its "
            f"record says; it was changed or damaged, build the engine of {record.name} again"
        )
    return content
