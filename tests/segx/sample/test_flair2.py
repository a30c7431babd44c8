import datetime
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from runtime.errors import DataError
from runtime.products import parse_products
from segx import __version__
from segx.sample import summarise, write_flair2

SIDE = 2
AREAS = 2


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("flair2") / "tree"
    return write_flair2(out, seed=3, areas=AREAS, patches_per_side=SIDE)


def read(path: Path) -> NDArray[np.uint8]:
    with rasterio.open(path) as source:
        image: NDArray[np.uint8] = source.read()
    return image


def load_json(path: Path) -> dict[str, list[int]]:
    content: dict[str, list[int]] = json.loads(path.read_text())
    return content


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_tree_holds_what_flair_2_holds_and_nothing_else(tree: Path) -> None:
    assert sorted(path.name for path in tree.iterdir()) == [
        "README.txt",
        "flair-2_centroids_sp_to_patch.json",
        "flair_aerial_metadata.json",
        "flair_aerial_train",
        "flair_labels_train",
        "flair_sen_train",
        "splits.json",
    ]
    images = sorted(tree.glob("flair_aerial_train/D0??_2021/Z*_*/img/IMG_??????.tif"))
    assert len(images) == AREAS * SIDE**2
    for image in images:
        label = str(image).replace("_aerial_", "_labels_").replace("/img/IMG", "/msk/MSK")
        assert Path(label).is_file()
    for area in sorted(tree.glob("flair_sen_train/*/*")):
        stem = f"SEN2_sp_{area.parent.name}-{area.name}"
        names = sorted(path.name for path in (area / "sen").iterdir())
        assert names == [f"{stem}_data.npy", f"{stem}_masks.npy", f"{stem}_products.txt"]


def test_patches_are_tagged_flair_patches_that_adjoin(tree: Path) -> None:
    images = sorted(tree.glob("flair_aerial_train/D098_2021/*/img/IMG_*.tif"))
    first = rasterio.open(images[0])
    for order, path in enumerate(images):
        with rasterio.open(path) as source:
            assert (source.count, source.height, source.width) == (5, 512, 512)
            assert source.dtypes == ("uint8",) * 5
            assert source.crs.to_epsg() == 2154
            assert source.res == (0.2, 0.2)
            assert source.nodata is None
            assert source.descriptions == ("red", "green", "blue", "nir", "elevation")
            assert source.tags()["SEGX_SAMPLE"] == __version__
            east, south = (order % SIDE) * 102.4, (order // SIDE) * 102.4
            assert source.transform.c == pytest.approx(first.transform.c + east, abs=1e-6)
            assert source.transform.f == pytest.approx(first.transform.f - south, abs=1e-6)
        label = Path(str(path).replace("_aerial_", "_labels_").replace("/img/IMG", "/msk/MSK"))
        with rasterio.open(label) as source:
            assert (source.count, source.dtypes) == (1, ("uint8",))
            assert source.transform == rasterio.open(path).transform
            assert source.tags()["SEGX_SAMPLE"] == __version__
            values = source.read(1)
        assert values.min() >= 1
        assert values.max() <= 19
    left, right = read(images[0]), read(images[1])
    seam = np.abs(left[:, :, -1].astype(int) - right[:, :, 0]).mean()
    inner = np.abs(np.diff(left.astype(int), axis=2)).mean()
    assert seam < 2 * inner


def test_centroids_are_whole_pixels_whose_windows_lie_inside_and_off_by_less_than_half(
    tree: Path,
) -> None:
    centroids = load_json(tree / "flair-2_centroids_sp_to_patch.json")
    metadata = json.loads((tree / "flair_aerial_metadata.json").read_text())
    assert {name.removesuffix(".tif") for name in centroids} == set(metadata)
    for area in sorted(tree.glob("flair_sen_train/*/*")):
        rows, cols = np.load(next(area.glob("sen/*_data.npy")), mmap_mode="r").shape[2:]
        names = [name for name, entry in metadata.items() if entry["zone"] == area.name]
        places = np.array([centroids[f"{name}.tif"] for name in names])
        assert places.dtype.kind == "i"
        assert (places >= 20).all()
        assert (places <= np.array([rows, cols]) - 20).all()
        ground = np.array(
            [
                (-metadata[name]["patch_centroid_y"], metadata[name]["patch_centroid_x"])
                for name in names
            ]
        )
        # One shift of less than half a pixel makes every centroid the rounded true centre.
        difference = places - ground / 10
        assert np.ptp(difference, axis=0).max() < 1.0


def test_the_series_is_a_year_of_digital_numbers_with_probabilities(tree: Path) -> None:
    for folder in sorted(tree.glob("flair_sen_train/*/*/sen")):
        dn = np.load(next(folder.glob("*_data.npy")))
        cover = np.load(next(folder.glob("*_masks.npy")))
        text = next(folder.glob("*_products.txt")).read_text()
        days, offsets = parse_products(text, where="products.txt")
        assert 18 <= len(days) <= 20
        assert dn.dtype == np.uint16
        assert cover.dtype == np.uint8
        assert dn.shape == (len(days), 10, *cover.shape[2:])
        assert cover.shape[:2] == (len(days), 2)
        assert set(offsets) == {0}
        assert list(days) == sorted(set(days))
        assert {day.year for day in days} == {2021}
        assert len({day.month for day in days}) >= 10
        assert len(set(np.diff([day.toordinal() for day in days]))) > 3
        assert dn.min() >= 1
        assert dn.max() <= 16_000
        assert cover.max() <= 100
        covered = (cover[:, 1] >= 50).mean(axis=(1, 2))
        assert (covered < 0.5).sum() >= 9
        assert covered.max() > 0.5
        snowy = (cover[:, 0] > 0).any(axis=(1, 2))
        assert all(days[index].month in (1, 2, 12) for index in np.flatnonzero(snowy))


def test_validation_areas_are_apart_from_training_areas(tree: Path) -> None:
    splits = load_json(tree / "splits.json")
    metadata = json.loads((tree / "flair_aerial_metadata.json").read_text())
    assert sorted(splits) == ["train", "val"]
    zones = {
        split: {metadata[str(name)]["zone"] for name in names} for split, names in splits.items()
    }
    assert not zones["train"] & zones["val"]
    assert len(splits["train"]) + len(splits["val"]) == len(metadata)
    assert splits["val"]


def test_sentinel_2_lies_where_the_labels_are(tree: Path) -> None:
    """Vegetation by the labels must match July's near infrared best where the files say it lies."""
    centroids = load_json(tree / "flair-2_centroids_sp_to_patch.json")
    score = np.zeros((3, 3))
    for folder in sorted(tree.glob("flair_sen_train/*/*/sen")):
        dn, cover = (np.load(next(folder.glob(f"*_{kind}.npy"))) for kind in ("data", "masks"))
        clear = (cover.max(axis=1) < 20).mean(axis=(1, 2)) > 0.9
        ratio = (dn[:, 6] / dn[:, 2].astype(np.float64))[clear].mean(axis=0)
        for path in sorted(Path(str(folder.parent).replace("_sen_", "_labels_")).glob("msk/*.tif")):
            green = np.isin(read(path)[0], (6, 7, 10, 11)).astype(np.float64)
            cells = green[6:506, 6:506].reshape(10, 50, 10, 50).mean(axis=(1, 3))
            row, col = centroids[path.name.replace("MSK", "IMG")]
            for down in (-1, 0, 1):
                for right in (-1, 0, 1):
                    top, left = row - 5 + 2 * down, col - 5 + 2 * right
                    seen = ratio[top : top + 10, left : left + 10]
                    score[down + 1, right + 1] += np.corrcoef(seen.ravel(), cells.ravel())[0, 1]
    assert score.argmax() == 4


def test_a_seed_gives_the_same_bytes_and_another_seed_other_land(tmp_path: Path) -> None:
    one, two, other = (
        hashes(write_flair2(tmp_path / name, seed=seed, areas=2, patches_per_side=1))
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    assert one == two
    rasters = [name for name in one if name.endswith((".tif", ".npy"))]
    assert len(rasters) == 8
    assert all(one[name] != other[name] for name in rasters)


def test_no_flip_or_transpose_of_a_patch_looks_like_it(tree: Path) -> None:
    labels = read(sorted(tree.glob("flair_labels_train/*/*/msk/*.tif"))[0])[0]
    for other in (labels[::-1], labels[:, ::-1], labels.T, labels[::-1, ::-1]):
        assert (labels == other).mean() < 0.9


def test_ten_of_twelve_classes_occur_in_a_small_tree(tree: Path) -> None:
    shares = dict(summarise(tree).shares)
    assert sum(shares.values()) == pytest.approx(1)
    common = [name for name, share in shares.items() if share >= 0.005]
    assert len(common) >= 10


def test_the_folder_says_that_it_is_synthetic(tree: Path) -> None:
    text = (tree / "README.txt").read_text()
    assert "Synthetic data, made by segx sample" in text
    assert "seed: 3" in text
    assert f"segx: {__version__}" in text


def test_areas_are_reported_as_they_are_done(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def note(done: int, total: int) -> None:
        seen.append((done, total))

    (tmp_path / "out").mkdir()
    write_flair2(tmp_path / "out", seed=0, areas=2, patches_per_side=1, on_area=note)
    assert seen == [(1, 2), (2, 2)]


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="already holds 1 entries; expected a new or empty folder"):
        write_flair2(tmp_path, seed=0)
    with pytest.raises(DataError, match="is a file; expected a new or empty folder"):
        write_flair2(tmp_path / "notes.txt", seed=0)
    with pytest.raises(DataError, match="cannot be made"):
        write_flair2(tmp_path / "notes.txt" / "deeper", seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_tree_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_flair2(tmp_path / "out", seed=0, areas=2, patches_per_side=1, on_area=stop)
    assert list(tmp_path.iterdir()) == []


def test_one_area_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 areas of 4 patches"):
        write_flair2(tmp_path / "out", seed=0, areas=1)


def test_days_of_the_aerial_images_are_days(tree: Path) -> None:
    metadata = json.loads((tree / "flair_aerial_metadata.json").read_text())
    for entry in metadata.values():
        assert datetime.date.fromisoformat(entry["date"]).month == 7
        assert sorted(entry) == [
            "camera",
            "date",
            "domain",
            "patch_centroid_x",
            "patch_centroid_y",
            "patch_centroid_z",
            "time",
            "zone",
        ]
