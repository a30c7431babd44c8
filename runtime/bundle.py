"""Open bundles: the folder that holds a model ready to run."""

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .card import ModelCard
from .errors import BundleError, brief
from .files import read_bounded
from .manifest import MANIFEST_NAME, Manifest, PartSpec, parse_manifest
from .onnx_scan import check_onnx

SUFFIX = ".segx"
GOLDEN_NAME = "golden.npz"
MOST_MANIFEST_BYTES = 16 << 20
CONTROL = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0)))) - {"\n", "\t"}
_CHUNK = 1 << 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bundle:
    """An opened bundle; its files have been checked against their hashes."""

    path: Path
    manifest: Manifest
    sha256: str
    """Hash of the manifest, which holds the hashes of everything else."""

    @property
    def card(self) -> ModelCard:
        """What inference must know of it."""
        manifest = self.manifest
        return ModelCard(
            name=manifest.name,
            sha256=self.sha256,
            verified=manifest.verified,
            toy=manifest.model.toy,
            aerial=manifest.aerial,
            satellite=manifest.satellite,
            classes=manifest.classes,
            input_ranges=manifest.input_ranges,
            single_branch=manifest.works_without_satellite,
            accuracy=manifest.accuracy,
        )

    def file(self, part: PartSpec) -> Path:
        """Path of a part's ONNX file."""
        return self.path / part.file

    @property
    def size_mib(self) -> float:
        """Size of the ONNX files on disk."""
        files = {part.file for part in self.manifest.parts}
        return sum((self.path / name).stat().st_size for name in files) / 2**20


def sha256_of(path: Path) -> str:
    """Hash a file's content."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_manifest(path: Path) -> tuple[Manifest, str]:
    """Read the manifest of a bundle, and its hash, without looking at the other files.

    Raises:
        BundleError: If the folder is no bundle, or its manifest cannot be read here.
    """
    file = path / MANIFEST_NAME
    if not file.is_file():
        raise BundleError(
            f"{path} has no {MANIFEST_NAME}; expected a bundle folder NAME{SUFFIX}; "
            "make one with `segx export`"
        )
    if file.is_symlink():
        raise BundleError(
            f"{file} is a link; expected plain files in the bundle; copy or export it again"
        )
    try:
        content = read_bounded(file, most=MOST_MANIFEST_BYTES)
        data = json.loads(content, object_pairs_hook=_once, parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise BundleError(
            f"{file} cannot be read as JSON ({brief(error)}); expected a bundle's manifest; "
            "copy or export the bundle again"
        ) from error
    strange = next(_texts_with_controls(data), None)
    if strange is not None:
        raise BundleError(
            f"{file} holds control characters in {strange[:40]!r}; expected text that can be "
            "shown; export the bundle again"
        )
    return parse_manifest(data, where=str(file)), hashlib.sha256(content).hexdigest()


def open_bundle(path: Path) -> Bundle:
    """Open a bundle: check every file against its hash, and that its graphs are self-contained.

    Raises:
        BundleError: If the folder is no bundle, is damaged, cannot be read by this version, or has
            a graph that leads beyond itself.
    """
    manifest, digest = read_manifest(path)
    for name, expected in manifest.files.items():
        _check_file(path, name, expected)
    for name in sorted({part.file for part in manifest.parts}):
        check_onnx(path / name)
    return Bundle(path=path, manifest=manifest, sha256=digest)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a table that says a key twice: two readers could read two manifests."""
    table = dict(pairs)
    if len(table) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it has the key {twice[:40]!r} twice")
    return table


def _no_number(text: str) -> float:
    raise ValueError(f"it has {text}, which is no number")


def _texts_with_controls(data: object) -> Iterator[str]:
    """Give the texts that would steer the terminal that shows them."""
    found = [data]
    while found:
        item = found.pop()
        if isinstance(item, str) and not CONTROL.isdisjoint(item):
            yield item
        elif isinstance(item, dict):
            found += [*item, *item.values()]
        elif isinstance(item, list):
            found += item


def _check_file(folder: Path, name: str, expected: str) -> None:
    file = folder / name
    if Path(name).name != name or file.is_symlink():
        raise BundleError(
            f"{folder} lists '{name}', which is a path or a link; expected plain files in the "
            "bundle; export it again"
        )
    if not file.is_file():
        raise BundleError(
            f"{file} is missing; expected it, since the manifest lists it; copy or export the "
            "bundle again"
        )
    try:
        found = sha256_of(file)
    except OSError as error:
        raise BundleError(
            f"{file} cannot be read ({brief(error)}); expected a readable file; copy or export the "
            "bundle again"
        ) from error
    if found != expected:
        raise BundleError(
            f"{file} has sha256 {found[:12]}...; expected {expected[:12]}... as the manifest says; "
            "the file was changed or damaged, copy or export the bundle again"
        )


def find_newest(root: Path, *, apart_from: Path | None = None) -> Path | None:
    """Find the newest verified bundle below a folder, by the manifests' own time.

    Args:
        root: Where to look; hidden folders are passed over.
        apart_from: A bundle that does not count, such as one that comes with the program.
    """
    newest: tuple[str, str] | None = None
    for folder in folders_with(root, MANIFEST_NAME):
        if folder.suffix != SUFFIX or (apart_from and folder.samefile(apart_from)):
            continue
        try:
            manifest, _ = read_manifest(folder)
        except BundleError as error:
            _log.info("passed over: %s", error)
            continue
        if manifest.verified:
            newest = max(newest or ("", ""), (manifest.created, str(folder)))
    return Path(newest[1]) if newest else None


def folders_with(root: Path, name: str) -> Iterator[Path]:
    """Folders below `root` that hold a file of this name; hidden folders are passed over."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith("."))
        if name in files:
            yield Path(folder)
