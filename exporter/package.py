"""Write a bundle's folder: beside its final place, the manifest last, then one rename.

    bundles/.NAME.segx.lock          held meanwhile
    bundles/.NAME.segx.1234.part/    everything is written here
    bundles/NAME.segx/               appears when complete; one of this name is replaced then

Whatever goes wrong before the rename leaves an existing bundle as it was.
"""

import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.alone import alone
from runtime.bundle import GOLDEN_NAME, SUFFIX, Bundle, open_bundle, sha256_of
from runtime.errors import BundleError
from runtime.jsonfile import write_json
from runtime.manifest import MANIFEST_NAME, Manifest

from .parity import Ledger

PARITY_NAME = "parity.json"


def check_target(out: Path) -> None:
    """Refuse a path that cannot become a bundle, before any work is done.

    Raises:
        BundleError: If the name does not end in `.segx`, or something else is there.
    """
    if out.suffix != SUFFIX or not out.stem:
        raise BundleError(f"{out} is no name for a bundle; expected NAME{SUFFIX}; change --out")
    taken = out.is_file() or out.is_symlink()
    if taken or (out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_NAME).is_file()):
        raise BundleError(
            f"{out} is there and is no bundle; expected a free name or a bundle to replace; "
            "move it away or change --out"
        )


@contextmanager
def staging(out: Path) -> Iterator[Path]:
    """Make a hidden folder beside the bundle's place; what is left of it is removed at the end.

    What exports that were killed have left of theirs is removed, too.

    Raises:
        BundleError: If it cannot be made.
        BusyError: If another process makes a bundle of this name there.
    """
    folder = out.parent / f".{out.name}.{os.getpid()}.part"
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(out, error) from error
    with alone(out.parent / f".{out.name}.lock", making=out) as is_alone:
        if is_alone:
            _clear(out)
        try:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        except OSError as error:
            raise _unwritable(out, error) from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _clear(out: Path) -> None:
    """Remove what killed exports of a bundle left; one that was about to be replaced comes back."""
    for folder in sorted(out.parent.glob(f".{glob.escape(out.name)}.*.old")):
        if not out.exists():
            folder.rename(out)
    for ending in ("part", "old"):
        for folder in out.parent.glob(f".{glob.escape(out.name)}.*.{ending}"):
            shutil.rmtree(folder, ignore_errors=True)


def _unwritable(out: Path, error: OSError) -> BundleError:
    return BundleError(
        f"{out.parent} cannot be written to ({error.strerror}); expected a folder for the bundle; "
        "change --out"
    )


def write_evidence(
    folder: Path,
    ledger: Ledger,
    feed: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, NDArray[Any]],
) -> None:
    """Write what the stages agreed on, and one sample with what the bundle makes of it."""
    write_json(folder / PARITY_NAME, ledger)
    arrays = {f"input.{name}": array for name, array in feed.items()}
    arrays.update({f"output.{name}": array for name, array in outputs.items()})
    with (folder / GOLDEN_NAME).open("wb") as stream:
        np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]


def hashes(folder: Path) -> dict[str, str]:
    """Hash every file of a bundle but its manifest, by name."""
    files = sorted(path for path in folder.iterdir() if path.name != MANIFEST_NAME)
    return {path.name: sha256_of(path) for path in files}


def publish(folder: Path, manifest: Manifest, out: Path) -> Bundle:
    """Write the manifest and give the folder its final name.

    Args:
        folder: Folder from `staging` that holds every other file.
        manifest: What the bundle is; it names the files with their hashes.
        out: Final path. A bundle that is there is replaced.

    Returns:
        The bundle, opened from its final path.
    """
    write_json(folder / MANIFEST_NAME, manifest)
    open_bundle(folder)
    old = out.parent / f".{out.name}.{os.getpid()}.old"
    if out.is_dir():
        out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        if old.is_dir():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
    return open_bundle(out)
