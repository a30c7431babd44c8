"""The timed loop of FLAIR #2: what is read, what is written, and what is refused."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from runtime import series
from runtime.bundle import open_bundle
from runtime.card import ModelCard
from runtime.datasets.flair import FlairTree
from runtime.errors import DataError, GridError
from runtime.flair_protocol import (
    STAGES,
    check_model,
    choose_patches,
    read_once,
    run_protocol,
    write_prediction,
)
from runtime.products import OffsetOption

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

Feed = Mapping[str, NDArray[Any]]


class Echo:
    """A model whose classes are a band of its input; it uses the same array for every result."""

    precision, batch, parts = "fp32", 1, ()

    def __init__(self) -> None:
        self.feeds: list[Feed] = []
        self.out = np.zeros((1, 512, 512), dtype=np.uint8)

    def run(self, feed: Feed) -> dict[str, NDArray[Any]]:
        self.feeds.append(feed)
        self.out[:] = expected_of(feed["aerial"][0])
        return {"classes": self.out}

    def run_many(self, feeds: Iterable[Feed]) -> Iterator[dict[str, NDArray[Any]]]:
        return map(self.run, feeds)

    def run_satellite(self, feed: Feed) -> dict[str, NDArray[Any]]:
        raise NotImplementedError


def expected_of(aerial: NDArray[np.uint8]) -> NDArray[np.uint8]:
    classes: NDArray[np.uint8] = aerial[0] % 13
    return classes


@pytest.fixture(scope="module")
def card(write_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> ModelCard:
    """A model of both inputs for whole patches."""
    path = tmp_path_factory.mktemp("card") / "patch.segx"
    return open_bundle(write_bundle(path, tile=512, window=40)).card


@pytest.fixture
def tree(small_flair2: Path) -> FlairTree:
    return FlairTree(small_flair2)


def test_every_patch_is_predicted_in_a_file_of_its_own(
    tree: FlairTree, card: ModelCard, tmp_path: Path
) -> None:
    ids = choose_patches(tree, None)
    told: list[tuple[int, int]] = []
    times = run_protocol(
        tree, ids, card, Echo(), tmp_path, on_patch=lambda done, total: told.append((done, total))
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{name.replace('IMG', 'PRED')}.tif" for name in sorted(tree.patches)
    ]
    for name in ids:
        with rasterio.open(tmp_path / f"{name.replace('IMG', 'PRED')}.tif") as found:
            assert (found.count, found.dtypes, found.shape) == (1, ("uint8",), (512, 512))
            assert found.compression.name == "lzw"
            assert np.array_equal(found.read(1), expected_of(tree.aerial(name)))
    assert told == [(done, len(ids)) for done in range(1, len(ids) + 1)]
    assert times.patches == len(ids) == 8
    assert tuple(times.stages_s) == STAGES
    assert all(0 < busy <= times.wall_s for busy in times.stages_s.values())


def test_a_model_is_fed_as_in_training_and_evaluation(
    tree: FlairTree, card: ModelCard, tmp_path: Path
) -> None:
    model = Echo()
    bands = ("nir", "red", "green")
    aerial = replace(
        card.aerial,
        bands=bands,
        normalization=replace(card.aerial.normalization, mean=(0.0,) * 3, std=(1.0,) * 3),
    )
    ids = choose_patches(tree, 2)
    run_protocol(tree, ids, replace(card, aerial=aerial), model, tmp_path)
    # The first patch is run once before the clock starts.
    for name, feed in zip((ids[0], *ids), model.feeds, strict=True):
        sample = tree.read(name, card.satellite).with_bands(bands)
        assert sample.satellite is not None
        assert np.array_equal(feed["aerial"], sample.aerial[None])
        assert np.array_equal(feed["satellite"], sample.satellite.series[None])
        assert np.array_equal(feed["date_mask"], sample.satellite.date_mask[None])
        assert np.array_equal(feed["days"], sample.satellite.days[None])


def test_labels_are_not_read_and_a_series_is_opened_once_per_area(
    tree: FlairTree, card: ModelCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[Path, str]] = []

    def open_series(folder: Path, *, zone: str, offset: OffsetOption) -> Any:
        opened.append((folder, zone))
        return series.open_series(folder, zone=zone, offset=offset)

    monkeypatch.setattr("runtime.datasets.flair.open_series", open_series)
    monkeypatch.setattr(
        "runtime.datasets.flair._read_labels", lambda path: pytest.fail(f"read {path}")
    )
    run_protocol(tree, choose_patches(tree, None), card, Echo(), tmp_path)
    assert len(opened) == len(set(opened)) == len(set(tree.groups().values())) == 2


def test_a_model_of_images_alone_needs_no_series(
    small_flair2: Path, card: ModelCard, tmp_path: Path
) -> None:
    shutil.copytree(small_flair2, tmp_path / "tree", ignore=shutil.ignore_patterns("SEN2_*"))
    tree = FlairTree(tmp_path / "tree")
    model = Echo()
    (tmp_path / "out").mkdir()
    ids = choose_patches(tree, 1)
    run_protocol(tree, ids, replace(card, satellite=None), model, tmp_path / "out")
    assert [set(feed) for feed in model.feeds] == [{"aerial"}, {"aerial"}]
    with pytest.raises(DataError, match="has no Sentinel-2 series"):
        run_protocol(tree, ids, card, model, tmp_path / "out")


def test_the_first_patches_are_those_of_the_lowest_names(tree: FlairTree) -> None:
    everything = choose_patches(tree, None)
    assert everything == tuple(sorted(tree.patches))
    assert choose_patches(tree, 3) == everything[:3]
    assert choose_patches(tree, 99) == everything


def test_a_file_that_is_gone_is_named_before_anything_is_timed(
    small_flair2: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_flair2, tmp_path / "tree")
    tree = FlairTree(tmp_path / "tree")
    ids = choose_patches(tree, None)
    read_once(tree, ids)
    gone = tree.series_files(ids[0])[0]
    gone.unlink()
    gone.mkdir()
    with pytest.raises(DataError, match=f"{gone.name} cannot be read"):
        read_once(tree, ids)


def test_models_of_other_tiles_classes_or_resolutions_are_refused(
    tree: FlairTree, card: ModelCard
) -> None:
    ids = choose_patches(tree, 1)
    check_model(tree, card, ids)
    smaller = replace(card, aerial=replace(card.aerial, tile_size=256))
    with pytest.raises(GridError, match="takes tiles of 256 px; expected 512 px"):
        check_model(tree, smaller, ids)
    with pytest.raises(DataError, match="expected those of the model"):
        check_model(tree, replace(card, classes=card.classes[1:]), ids)
    coarser = replace(card, aerial=replace(card.aerial, resolution_m=0.5))
    with pytest.raises(GridError, match=r"expected 0\.500 m"):
        check_model(tree, coarser, ids)


def test_a_prediction_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"PRED_1\.tif cannot be written"):
        write_prediction(tmp_path / "absent", "IMG_1", np.zeros((4, 4), dtype=np.uint8))
