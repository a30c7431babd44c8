from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.dataset import open_dataset, samples
from runtime.errors import DataError
from runtime.satellite import SatelliteSpec


def test_a_folder_is_opened_and_its_split_read_in_order(add_area: Callable[..., Path]) -> None:
    add_area({"IMG_000002": [20, 20], "IMG_000001": [30, 25]}, domain="D006_2020")
    dataset = open_dataset(add_area({"IMG_000003": [20, 20]}))
    read = list(samples(dataset, "train", SatelliteSpec(window=4)))
    assert [sample.id for sample in read] == ["IMG_000001", "IMG_000002"]
    assert all(s.satellite is not None and s.satellite.series.shape[2:] == (4, 4) for s in read)


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gone is no folder; expected a data set; check the path"):
        open_dataset(tmp_path / "gone")
