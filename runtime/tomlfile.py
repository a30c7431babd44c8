"""Read TOML files that a user, or somebody else, wrote."""

import sys
from pathlib import Path
from typing import Any

from .errors import ConfigError, SegxError, brief

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MOST_BYTES = 4 << 20


def read_toml(path: Path, *, error: type[SegxError] = ConfigError) -> dict[str, Any]:
    """Read a TOML file.

    Args:
        path: The file.
        error: Class of the error raised.

    Raises:
        SegxError: `error`, if it cannot be read, is larger than any, or is no TOML.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has {path.stat().st_size} bytes, {MOST_BYTES} at most are read")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as fault:
        raise error(
            f"{path} cannot be read ({brief(fault)}); expected a TOML file; check path and "
            "permissions"
        ) from fault
    except (ValueError, RecursionError) as fault:
        raise error(
            f"{path} is not TOML: {brief(fault)}; expected a TOML file; correct that line"
        ) from fault
