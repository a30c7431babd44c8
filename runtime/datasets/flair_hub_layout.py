"""Where the files of a FLAIR-HUB data set lie, and what their names say."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AERIAL = "AERIAL_RGBI"
HEIGHTS = "DEM_ELEV"
SERIES = "SENTINEL2_TS"
COVER = "SENTINEL2_MSK-SC"
LABELS = "AERIAL_LABEL-COSIA"


@dataclass(frozen=True, slots=True, kw_only=True)
class HubPatch:
    """One patch; its files differ in the name of the modality."""

    id: str
    """Domain, area and place, such as `D012-2019_AF-S1-27_5-10`."""
    image: Path
    area: str
    """Domain with its year and area, such as `D012-2019/AF-S1-27`."""
    domain: str
    """Department without the year, such as `D012`."""
    is_test: bool = False

    def file(self, root: Path, modality: str) -> Path:
        """Path of the patch in another modality."""
        parts = self.image.relative_to(root).parts
        return root.joinpath(*(part.replace(AERIAL, modality) for part in parts))


def holds_flair_hub(root: Path) -> bool:
    """Tell whether a folder holds FLAIR-HUB's aerial images."""
    return next(folders_in(root), None) is not None


def folders_in(root: Path) -> Iterator[Path]:
    """Folders of aerial images in a folder, or in folders of that."""
    for pattern in (f"*_{AERIAL}", f"*/*_{AERIAL}"):
        yield from (folder for folder in root.glob(pattern) if folder.is_dir())


def find_patches(root: Path) -> Iterator[HubPatch]:
    """Find the patches that have an aerial image, in no order."""
    for folder in folders_in(root):
        domain = folder.name.removesuffix(f"_{AERIAL}")
        for image in folder.glob(f"*/{folder.name}_*.tif"):
            place = image.stem.removeprefix(f"{folder.name}_")
            yield HubPatch(
                id=f"{domain}_{place}",
                image=image,
                area=f"{domain}/{place.rpartition('_')[0]}",
                domain=domain.partition("-")[0],
            )


def find_metadata(root: Path, name: str) -> Path | None:
    """Find a file of metadata, in the folder or up to two folders below."""
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for path in sorted(root.glob(pattern)):
            return path
    return None
