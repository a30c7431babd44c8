"""Where the engine cache lies, and how large it may grow."""

import math
import os
import sys
from pathlib import Path

from ..errors import ConfigError

ROOT_VARIABLE = "SEGX_CACHE"
LIMIT_VARIABLE = "SEGX_CACHE_GIB"
LIMIT_GIB = 20.0


def default_cache_root() -> Path:
    """Give the cache's folder: `$SEGX_CACHE`, or `segx` in the system's folder for caches.

    Raises:
        ConfigError: If no home folder is known.
    """
    named = os.environ.get(ROOT_VARIABLE)
    try:
        if named:
            return Path(named).expanduser().absolute()
        return _platform_folder()
    except RuntimeError as error:
        raise ConfigError(
            "the home folder of this user is not known; expected one for the engine cache; "
            f"set {ROOT_VARIABLE} to a folder"
        ) from error


def _platform_folder() -> Path:
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "segx" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "segx"
    folder = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The specification has relative paths passed over.
    return (folder if folder.is_absolute() else Path.home() / ".cache") / "segx"


def cache_limit() -> int:
    """Give the bytes that the cache may take: `$SEGX_CACHE_GIB`, or 20 GiB.

    Raises:
        ConfigError: If the variable holds no number above 0.
    """
    text = os.environ.get(LIMIT_VARIABLE) or str(LIMIT_GIB)
    try:
        gib = float(text)
    except ValueError:
        gib = math.nan
    if not 0 < gib < math.inf:
        raise ConfigError(
            f"{LIMIT_VARIABLE} is {text!r}; expected a number of GiB above 0, such as "
            f"{LIMIT_GIB:g}; change or unset it"
        )
    return int(gib * 2**30)
