from collections.abc import Callable

import pytest


@pytest.fixture
def few_columns(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make strips of so many columns of tiles."""

    def limit(tiles: int) -> None:
        monkeypatch.setattr("runtime.stream.memory.STRIP_TILES", tiles)

    return limit
