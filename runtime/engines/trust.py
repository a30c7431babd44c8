"""Engines hold code that TensorRT runs when it opens them: whose engines are opened."""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from ..errors import EngineError

WHY = "since opening an engine can run code that is in it"


def check_own(root: Path, folders: Iterable[Path], *, trusted: bool) -> None:
    """Refuse a cache that others can write to, on systems that tell.

    Args:
        root: The cache; it need not exist.
        folders: Folders in it.
        trusted: Take it all the same.

    Raises:
        EngineError: If it, or a folder of it, belongs to another user, can be written by others,
            or if a folder of it is a link.
    """
    for path in (root, *folders):
        if path != root and os.path.islink(path):
            raise EngineError(
                f"{path} is a link; expected a folder of the engine cache; remove the link, or "
                "set SEGX_CACHE to the cache itself"
            )
        fault = "" if trusted else _fault(path)
        if fault:
            raise EngineError(
                f"{path} {fault}; expected an engine cache that only you can write to, {WHY}; "
                f"run `chmod go-w {path}` if it is yours, set SEGX_CACHE to a folder of your own, "
                "or take it as it is with --trust-engines"
            )


def _fault(path: Path) -> str:
    if os.name != "posix":
        return ""
    try:
        found = path.stat()
    except OSError:  # nothing there to be trusted
        return ""
    # What root writes is trusted anyway, such as the program itself.
    if found.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (id {found.st_uid})"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"can be written to by others (mode {stat.S_IMODE(found.st_mode):o})"
    return ""


def check_foreign(folder: Path, *, trusted: bool) -> None:
    """Refuse a folder of engines from elsewhere unless the user trusts it.

    Raises:
        EngineError: If it is not trusted, or no folder.
    """
    if not trusted:
        raise EngineError(
            f"{folder} holds engines from elsewhere; expected them to be trusted in so many words, "
            f"{WHY}; add --trust-engines if you know who built them, or leave --engines out"
        )
    if not os.path.isdir(folder):
        raise EngineError(
            f"{folder} is no folder; expected one of engines, as `segx export --engines` fills; "
            "check the path or leave --engines out"
        )
