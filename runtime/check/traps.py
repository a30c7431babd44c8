"""What is known to go wrong with each data set, and whether it is so in this one."""

from collections import defaultdict
from collections.abc import Iterator

from ..dataset import Dataset
from ..datasets.flair import FlairTree
from ..datasets.flair_hub import FlairHub
from ..datasets.flair_hub_layout import HEIGHTS
from ..datasets.folder_dataset import FolderDataset
from ..datasets.landcover_ai import TILE_PX, LandCoverAi
from ..datasets.potsdam import Potsdam
from ..datasets.potsdam_published import MISLABELLED
from ..datasets.splits import LISTED
from ..errors import SatelliteError
from .findings import Finding

DOUBTED = "7_10"
"""A tile of Potsdam that some leave out, too."""


def traps_of(dataset: Dataset) -> Iterator[Finding]:
    """Say what is odd about a data set, and how it is taken."""
    if isinstance(dataset, FlairTree):
        yield from _flair(dataset)
    elif isinstance(dataset, FlairHub):
        yield from _flair_hub(dataset)
    elif isinstance(dataset, LandCoverAi):
        yield from _landcover(dataset)
    elif isinstance(dataset, Potsdam):
        yield from _potsdam(dataset)
    elif isinstance(dataset, FolderDataset):
        yield from _folder(dataset)


def _note(text: str) -> Finding:
    return Finding(kind="note", text=text)


def _flair(tree: FlairTree) -> Iterator[Finding]:
    lost = []
    for patch_id, patch in tree.patches.items():
        if patch.satellite is not None:
            try:
                tree.centroid(patch_id)
            except SatelliteError as error:
                lost.append(error)
    if lost:
        text = f"{len(lost)} patches have a series and no place in it; the first: {lost[0]}"
        yield Finding(kind="missing", text=text)
    d070 = [patch for patch in tree.patches.values() if patch.domain.startswith("D070")]
    if d070 and not (tree.root / LISTED).is_file():
        yield _note(
            f"{len(d070)} patches of D070 are in train, as FLAIR #2's card says; FLAIR #1 lists "
            "D070 for validation where the card has D077"
        )


def _flair_hub(hub: FlairHub) -> Iterator[Finding]:
    patches = hub.patches.values()
    flat = [patch for patch in patches if not patch.file(hub.root, HEIGHTS).is_file()]
    if flat:
        yield _note(
            f"{len(flat)} of {len(patches)} patches have no {HEIGHTS}, such as {flat[0].id}: no "
            "patch has an elevation band"
        )
    yield _note("a series covers its patch alone: beyond it, windows repeat the outermost cells")


def _landcover(tree: LandCoverAi) -> Iterator[Finding]:
    cut = sum(
        -(-info.grid.shape[0] // TILE_PX) * -(-info.grid.shape[1] // TILE_PX)
        for info in tree.images.values()
    ) - len(tree.tiles)
    yield _note(f"{cut} windows reach beyond their image: counted in the numbers, but no tiles")
    sheets: dict[str, set[str]] = defaultdict(set)
    for split, ids in tree.splits.items():
        for patch_id in ids:
            sheets[tree.tiles[patch_id].area].add(split)
    mixed = sum(len(splits) > 1 for splits in sheets.values())
    if mixed:
        yield _note(
            f"{mixed} of {len(sheets)} images have tiles in several splits, so that neighbours of "
            "training tiles are scored; for whole images: segx data split PATH --by sheet"
        )
    yield _note("no dates of the images are published; which Sentinel-2 year fits is your choice")


def _potsdam(tree: Potsdam) -> Iterator[Finding]:
    used = {tree.patches[patch_id].tile for ids in tree.splits.values() for patch_id in ids}
    if MISLABELLED in tree.tiles:
        how = "used, as splits.json says" if MISLABELLED in used else "left out"
        yield _note(f"{MISLABELLED} has wrong labels: {how}")
    if DOUBTED in used:
        yield _note(f"{DOUBTED} is used; some leave it out for its labels")
    for name, lacks in tree.short_heights().items():
        yield _note(f"the surface model of {name} lacks {lacks}; its border is repeated")
    unplaced = [name for name, info in tree.grids.items() if not info.placed]
    if unplaced:
        yield _note(
            f"{len(unplaced)} tiles have no georeference: places follow from their numbers, and "
            "Sentinel-2 cannot be added"
        )
    for band, count in tree.partial_bands().items():
        yield _note(f"{count} of {len(tree.tiles)} tiles have {band}: left out for all")
    if "elevation" in tree.bands:
        yield _note("elevation is uint8 as stored, of an unpublished unit: not FLAIR's 0.2 m")
    elif any(files.surface is not None for files in tree.tiles.values()):
        yield _note("heights above the sea (1_DSM) are none above ground, and are not read")
    yield from _label_kinds(tree)


def _label_kinds(tree: Potsdam) -> Iterator[Finding]:
    for split, ids in tree.splits.items():
        files = {tree.labels_file(patch_id) for patch_id in ids} - {None}
        inner = sum("_noboundary" in path.name.lower() for path in files if path is not None)
        if files:
            which = "without" if inner == len(files) else "with" if not inner else "partly without"
            yield _note(f"{split}: labels {which} the pixels beside boundaries")


def _folder(tree: FolderDataset) -> Iterator[Finding]:
    small = [i for i in tree.images.values() if min(i.info.grid.shape) < tree.tile]
    if small:
        yield _note(f"{len(small)} images are smaller than a tile of {tree.tile} px: filled up")
    unplaced = [image for image in tree.images.values() if not image.info.placed]
    if unplaced:
        yield _note(
            f"{len(unplaced)} images have no georeference: taken at "
            f"{tree.settings.resolution_m} m, and Sentinel-2 cannot be added"
        )
    known = {image.labels for image in tree.images.values()}
    places = sorted({image.labels.parent for image in tree.images.values()})
    stray = [path for place in places for path in place.glob("*.tif") if path not in known]
    if stray:
        yield _note(f"{len(stray)} labels have no image of their name, such as {stray[0].name}")
