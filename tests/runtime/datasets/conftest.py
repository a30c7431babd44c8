"""Data sets as published, written by the tests that read them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from potsdam_tree import write_tile


@pytest.fixture
def potsdam(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes tiles into one tree in `tmp_path` and returns its root."""

    def add(*tiles: str, **options: Any) -> Path:
        for tile in tiles:
            write_tile(tmp_path, tile, **options)
        return tmp_path

    return add
