"""Keep what ranges were measured on, as `calibration.json`, and tell when it no longer holds.

A record is *edited* when its digest is not that of its content, and *stale* when what the ranges
depend on has changed: the data, the preparation of inputs, the FP32 graphs, or segx itself. Of two
versions of segx, MAJOR.MINOR must be the same, since patch releases measure alike; `record_version`
must be equal.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.card import ModelCard
from runtime.errors import CalibrationError
from runtime.jsonfile import plain, read_json, write_json
from runtime.schema import parse

from .pairs import PairCheck
from .selection import Selection

RECORD_NAME = "calibration.json"
RECORD_VERSION = 1
"""Of the layout of the file."""

PREPROCESSING_VERSION = 1
"""Raised whenever runtime prepares other inputs from the same files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What measured ranges depend on."""

    fingerprint: str
    """Of the data set."""
    preprocessing: str
    """From `preprocessing_hash`."""
    sources: dict[str, str]
    """sha256 of the FP32 ONNX file of each part, by part."""
    segx_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """How the ranges of a bundle came about."""

    record_version: int = RECORD_VERSION
    basis: Basis
    selection: Selection
    method: str
    """How a range comes from what was seen: `max` or `entropy`."""
    pairs: PairCheck
    versions: dict[str, str]
    """Of the libraries that measured and quantised."""
    digest: str = ""
    """sha256 of everything else here; `write` fills it in."""


def preprocessing_hash(card: ModelCard, feed: Mapping[str, NDArray[Any]]) -> str:
    """Hash how inputs are prepared, in words and on an example.

    Args:
        card: Says which bands, tiles, window and dates are used.
        feed: Inputs of one sample, always the same one.
    """
    digest = hashlib.sha256()
    spec = {
        "version": PREPROCESSING_VERSION,
        "bands": card.aerial.bands,
        "tile_size": card.aerial.tile_size,
        "resolution_m": card.aerial.resolution_m,
        "satellite": card.satellite,
    }
    digest.update(_canonical(spec))
    for name in sorted(feed):
        array = np.ascontiguousarray(feed[name])
        digest.update(_canonical([name, array.dtype.str, array.shape]))
        digest.update(array.tobytes())
    return digest.hexdigest()


def write(path: Path, record: Record) -> Record:
    """Write a record; it appears under its name only when complete.

    Returns:
        The record with its digest.

    Raises:
        DataError: If the disk does not take it.
    """
    sealed = dataclasses.replace(record, digest=_digest(record))
    write_json(path, sealed)
    return sealed


def load_record(path: Path) -> Record:
    """Read a record; see `require_fresh` for whether it holds.

    Raises:
        CalibrationError: If it is missing, no JSON, or of another layout.
    """
    expected = "a calibration record; calibrate again"
    data = read_json(path, expected=expected, error=CalibrationError)
    found = data.get("record_version") if isinstance(data, Mapping) else None
    if found != RECORD_VERSION:
        raise CalibrationError(
            f"{path} has record_version {str(found)[:20]}; expected {RECORD_VERSION}; calibrate "
            "again with this segx"
        )
    return parse(Record, data, where=str(path), error=CalibrationError)


def require_fresh(record: Record, now: Basis, *, where: str) -> None:
    """Check that a record is as it was written and that ranges measured now would be the same.

    Args:
        record: From `load_record`.
        now: What ranges would depend on now.
        where: Name of the record for messages.

    Raises:
        CalibrationError: If it was edited or is stale, saying what differs.
    """
    if record.digest != _digest(record):
        raise CalibrationError(
            f"{where} was edited: its content has the digest {_digest(record)[:12]}; expected "
            f"{record.digest[:12] or 'one'} as it says; calibrate again"
        )
    stale = _differences(record.basis, now)
    if stale:
        raise CalibrationError(
            f"{where} is stale: {', '.join(stale)}; expected what it was measured with; calibrate "
            "again"
        )


def _differences(then: Basis, now: Basis) -> list[str]:
    found = []
    if then.fingerprint != now.fingerprint:
        found.append("the data set has changed")
    if then.preprocessing != now.preprocessing:
        found.append("inputs are prepared in another way")
    parts = sorted(
        part
        for part in {*then.sources, *now.sources}
        if then.sources.get(part) != now.sources.get(part)
    )
    if parts:
        found.append(f"the FP32 graph of {', '.join(parts)} is another")
    if _minor(then.segx_version) != _minor(now.segx_version):
        found.append(f"segx was {then.segx_version} and is {now.segx_version}")
    return found


def _minor(version: str) -> tuple[str, ...]:
    return tuple(version.split(".")[:2])


def _digest(record: Record) -> str:
    return hashlib.sha256(_canonical(dataclasses.replace(record, digest=""))).hexdigest()


def _canonical(content: object) -> bytes:
    text = json.dumps(plain(content), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode()
