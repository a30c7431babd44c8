"""Read TOML files that a user, or somebody else, wrote."""

import sys
from pathlib import Path
from typing import Any

from .errors import ConfigError, SegxError, brief
from .files import read_bounded

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
        return tomllib.loads(read_bounded(path, most=MOST_BYTES).decode())
    except OSError as fault:
        raise error(
            f"{path} cannot be read ({brief(fault)}); expected a TOML file; check path and "
            "permissions"
        ) from fault
    except (ValueError, RecursionError) as fault:
        raise error(
            f"{path} is not TOML: {brief(fault)}; expected a TOML file; correct that line"
        ) from fault
