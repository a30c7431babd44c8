"""Read amounts of memory from the command line."""

import re

import typer

UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmg]i?|)b?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Read a number of bytes such as `2GB`, `800 MiB` or `1500000000`.

    Raises:
        typer.BadParameter: If it is none.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise typer.BadParameter(f"'{text}' is no amount of memory; give one such as 2GB or 800MB")
    return int(float(found[1]) * UNITS[found[2].lower()])
