"""Fingerprint of a data set: a hash of what its files are called and how large they are."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def fingerprint(root: Path, files: Iterable[Path], *, more: str = "") -> str:
    """Hash the names, below a folder, and sizes of files (sha256).

    Args:
        root: The data set's folder.
        files: Files in it, in any order.
        more: What else decides what is read.
    """
    digest = hashlib.sha256()
    for path in sorted(files):
        line = f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n"
        digest.update(line.encode())
    digest.update(more.encode())
    return digest.hexdigest()
