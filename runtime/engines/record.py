"""What is known of an engine: a JSON file beside it, written by whoever built it."""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import EngineError, brief
from ..manifest import Precision
from ..schema import parse, to_dict
from .files import read_plain
from .inspector import EngineSummary
from .options import BuildOptions
from .target import Target

FORMAT = 1
SUFFIX = ".json"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MOST = 4 << 20
"""Bytes that a record may have; what TensorRT says of an engine's layers is part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecord:
    """An engine: what it was built from, by what, for what, and how."""

    format: int = FORMAT
    segx_version: str
    bundle: str
    """Name of the bundle."""
    bundle_sha256: str
    """Of the bundle's manifest."""
    part: str
    onnx_sha256: str
    """Of the part's graph."""
    target: Target
    profile: str
    """Shapes that the engine takes, as `profiles.profile_text` writes them."""
    precision: Precision
    """Of the graph."""
    file: str
    """Name of the engine's file, in the folder of the record."""
    engine_sha256: str
    size_bytes: int
    created: str
    """UTC, ISO 8601."""
    build_seconds: float
    options: BuildOptions
    notes: tuple[str, ...] = ()
    """What did not go as asked while it was built."""
    summary: EngineSummary | None = None
    """Its layers; None where no GPU was there to ask."""

    def __post_init__(self) -> None:
        """Refuse another format, other files than the engine's, and text unfit for a terminal."""
        if self.format != FORMAT:
            raise ValueError(f"format {self.format} in place of {FORMAT}")
        if _SHA256.fullmatch(self.engine_sha256) is None:
            raise ValueError(f"{self.engine_sha256!r} in place of a sha256")
        if self.file != engine_file(self.key, self.engine_sha256):
            raise ValueError(f"the file {self.file!r} in place of {self.key}-*.engine")
        texts = (self.bundle, self.part, self.profile, *to_dict(self.target).values())
        if not all(text.isprintable() for text in texts):
            raise ValueError("text that cannot be printed")

    @property
    def key(self) -> str:
        """Key of the engine; see `engine_key`."""
        return engine_key(self.onnx_sha256, self.target, self.profile)

    @property
    def name(self) -> str:
        """Bundle and part, for messages."""
        return f"{self.bundle}/{self.part}"


def engine_key(onnx_sha256: str, target: Target, profile: str) -> str:
    """Hash what decides whether an engine can be used: graph, builder, device and shapes.

    Everything else (names, options, versions of segx) may change without another build.

    Returns:
        64 hexadecimal digits.
    """
    parts = {
        "onnx_sha256": onnx_sha256,
        "builder": target.builder,
        "builder_version": target.builder_version,
        "compute_capability": target.compute_capability,
        "gpu": target.gpu,
        "profile": profile,
    }
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def engine_file(key: str, engine_sha256: str) -> str:
    """Name an engine's file: another engine of the same key never takes its place."""
    return f"{key}-{engine_sha256[:12]}.engine"


def record_text(record: EngineRecord) -> bytes:
    """Write a record as JSON."""
    return (json.dumps(to_dict(record), indent=2, ensure_ascii=True) + "\n").encode()


def read_record(path: Path) -> EngineRecord | None:
    """Read the record of a key; None if there is none.

    Args:
        path: File named by the key.

    Raises:
        EngineError: If it cannot be read, is no record, or not that of this key.
    """
    try:
        content = read_plain(path, most=_MOST)
    except FileNotFoundError:
        return None
    try:
        data = json.loads(content)
        record = parse(EngineRecord, data, where="it", unknown="ignore", error=EngineError)
        if record.key != path.stem:
            raise EngineError(f"it is that of {record.name} with the key {record.key[:12]}...")
    except (ValueError, RecursionError, EngineError) as error:
        raise EngineError(
            f"{path} cannot be used ({brief(error)}); expected the record of an engine as this "
            "segx writes it; remove it and build the engine again"
        ) from error
    return record
