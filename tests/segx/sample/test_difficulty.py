"""How hard a sample is: Sentinel-2 alone must leave room, and the season pairs must be in it."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from runtime.products import parse_products
from segx.sample import SEASON_PAIRS, write_flair2

CLASSES = 13
PATCH_PX = 512
RIDGE = 30.0


@dataclass(frozen=True)
class Patch:
    series: NDArray[np.float64]
    """Monthly reflectance of the cells below the patch, shape (12 x bands, h, w)."""
    cell: NDArray[np.intp]
    """Row (and column) of the cell below each row (and column) of the patch, shape (2, 512)."""
    labels: NDArray[np.uint8]


def read_labels(path: Path) -> NDArray[np.uint8]:
    with MemoryFile(path.read_bytes()) as file, file.open() as source:
        labels: NDArray[np.uint8] = np.minimum(source.read(1), CLASSES) - 1
    return labels


def monthly_series(folder: Path) -> NDArray[np.float64]:
    """Interpolate the clear dates of every pixel to the middles of the months."""
    dn = np.load(next(folder.glob("*_data.npy"))) / 1e4
    clear = np.load(next(folder.glob("*_masks.npy"))).max(axis=1) < 50
    days, _ = parse_products(next(folder.glob("*_products.txt")).read_text(), where="products")
    day = np.array([date.timetuple().tm_yday for date in days])
    distance = (np.arange(12) * 30.44 + 15)[:, None] - day
    weight = np.exp(-(distance**2) / (2 * 18.0**2)) + 1e-6
    total = np.einsum("mt,tbhw->mbhw", weight, dn * clear[:, None])
    series: NDArray[np.float64] = total / np.einsum("mt,thw->mhw", weight, clear)[:, None]
    return series.reshape(-1, *dn.shape[2:])


def read_patches(root: Path, split: str) -> list[Patch]:
    wanted = json.loads((root / "splits.json").read_text())[split]
    centroids = json.loads((root / "flair-2_centroids_sp_to_patch.json").read_text())
    patches = []
    for folder in sorted(root.glob("flair_sen_train/*/*/sen")):
        series = monthly_series(folder)
        masks = Path(str(folder.parent).replace("_sen_", "_labels_")).glob("msk/*.tif")
        for path in sorted(masks):
            name = path.stem.replace("MSK", "IMG")
            if name in wanted:
                centre = np.array(centroids[f"{name}.tif"])[:, None]
                steps = (np.arange(PATCH_PX) + 0.5 - PATCH_PX / 2) * 0.02
                cell = np.floor(centre + steps).astype(np.intp)
                first = cell.min(axis=1)
                last = cell.max(axis=1) + 1
                part = series[:, first[0] : last[0], first[1] : last[1]]
                patches.append(Patch(part, cell - first[:, None], read_labels(path)))
    return patches


def cells_of(patch: Patch) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Series and class shares of a patch's cells, shapes (cells, features) and (cells, classes)."""
    shares = np.zeros((*patch.series.shape[1:], CLASSES))
    np.add.at(shares, (patch.cell[0][:, None], patch.cell[1], patch.labels), 1)
    features = patch.series.reshape(len(patch.series), -1).T
    return features, (shares / shares.sum(axis=-1, keepdims=True)).reshape(-1, CLASSES)


@dataclass(frozen=True)
class Answers:
    """What a linear model says of validation pixels."""

    labels: NDArray[np.uint8]
    """True classes, shape (patches, 512, 512)."""
    shares: NDArray[np.float64]
    """Class shares of the cell that holds the pixel, shape (patches, 512, 512, classes)."""


def fit_and_answer(train: list[Patch], val: list[Patch]) -> Answers:
    """Fit class shares on the series by ridge regression, and ask for the validation pixels."""
    features, shares = (np.concatenate(part) for part in zip(*map(cells_of, train), strict=True))
    mean, deviation = features.mean(axis=0), features.std(axis=0) + 1e-6

    def prepare(values: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled = (values - mean) / deviation
        return np.concatenate([scaled, np.ones((len(values), 1))], axis=1)

    design = prepare(features)
    penalty = RIDGE * np.eye(design.shape[1])
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ shares)
    answers = []
    for patch in val:
        cells = (prepare(cells_of(patch)[0]) @ weights).reshape(*patch.series.shape[1:], CLASSES)
        answers.append(cells[patch.cell[0][:, None], patch.cell[1]])
    return Answers(np.stack([patch.labels for patch in val]), np.stack(answers))


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    out = tmp_path_factory.mktemp("difficulty") / "tree"
    tree = write_flair2(out, seed=2, areas=4, patches_per_side=3)
    return fit_and_answer(read_patches(tree, "train"), read_patches(tree, "val"))


def test_a_linear_model_on_the_series_alone_stays_below_what_is_real(
    answers: Answers,
) -> None:
    confusion = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    np.add.at(confusion, (answers.labels, answers.shares.argmax(axis=-1)), 1)
    share = confusion.sum(axis=1) / confusion.sum()
    scored = np.flatnonzero(share[:12] >= 0.005)
    union = confusion.sum(axis=0) + confusion.sum(axis=1) - confusion.diagonal()
    miou = (confusion.diagonal()[scored] / union[scored]).mean()
    assert len(scored) >= 11
    assert 0.2 < miou <= 0.45


@pytest.mark.parametrize("pair", SEASON_PAIRS)
def test_a_linear_model_on_the_series_parts_the_season_pairs(
    answers: Answers, pair: tuple[int, int]
) -> None:
    one, other = (value - 1 for value in pair)
    is_one = answers.shares[..., one] > answers.shares[..., other]
    right = is_one[answers.labels == one].mean() + (~is_one[answers.labels == other]).mean()
    assert right / 2 > 0.8
