"""How U-T&T brings Sentinel-2 into a U-Net: what its fusion adds to every map of the encoder.

    features (N,64,40,40) -+- cropped: the tile's footprint -> 1x1 convolution -> each map's size
                           +- collapsed: mean over the window -> MLP -> one value per channel

Reference: Garioud et al. 2023, FLAIR #2, arXiv 2310.13336. Its code takes the first item's mean
for the whole batch; here every item has its own.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..config import InputConfig
from ..joint_config import Footprint
from .fusion import footprint_matrix

# Shape letters: N batch, D channels, h w Sentinel-2 cells, H W pixels of a map.

METADATA_VALUES = 45
"""Coordinates, altitude, camera, year, month, day and time of a patch, encoded as numbers."""

METADATA_DROPOUT = 0.5


class FootprintResize(nn.Module):
    """A map of a satellite window to a grid over the tile at its centre, bilinearly.

    Args:
        inputs: Sizes and resolutions of both inputs.
        footprint: Whether the grid covers the tile exactly, or the whole cells of the original.
        side: Pixels of the grid in each direction.
    """

    weights_Hh: Tensor

    def __init__(self, inputs: InputConfig, footprint: Footprint, side: int) -> None:
        super().__init__()
        cell_m, window = inputs.satellite_resolution_m, inputs.satellite_window
        tile_m, cells, first = inputs.tile_size * inputs.resolution_m, window, 0
        if footprint == "whole-cells":
            cells = max(1, int(tile_m / cell_m))
            first = (window - cells) // 2
            tile_m = cells * cell_m
        needed, weights = footprint_matrix(
            pixels=side, resolution_m=tile_m / side, cells=cells, cell_m=cell_m
        )
        self.needed = slice(first + needed.start, first + needed.stop)
        self.register_buffer("weights_Hh", torch.from_numpy(weights), persistent=False)

    def cut(self, map_NDhw: Tensor) -> Tensor:
        """Give the cells that the grid is drawn from."""
        return map_NDhw[:, :, self.needed, self.needed]

    def forward(self, cells_NDhw: Tensor) -> Tensor:
        """Give the grid, shape (N, D, H, W), from the cells that `cut` gives."""
        return self.weights_Hh @ (cells_NDhw @ self.weights_Hh.T)


class CroppedFusion(nn.Module):
    """What the footprint of the tile adds to one map.

    Args:
        resize: Brings cells to the map's grid.
        source: Channels of the satellite features.
        width: Channels of the map.
    """

    def __init__(self, resize: FootprintResize, source: int, width: int) -> None:
        super().__init__()
        self.resize = resize
        self.project = nn.Conv2d(source, width, 1)

    def forward(self, features_NDhw: Tensor) -> Tensor:
        """Give the addend, shape (N, D, H, W)."""
        addend: Tensor = self.resize(self.project(self.resize.cut(features_NDhw)))
        return addend


def collapsed_widths(source: int, width: int) -> tuple[int, int, int, int]:
    """Widths of the collapsed fusion's MLP, in the original's steps from one to the other.

    Equal ones are doubled in between.
    """
    if source == width:
        return source, 2 * source, 2 * source, width
    step = int((width - source) / 3)
    return source, source + step, source + 2 * step, width


class CollapsedFusion(nn.Module):
    """What the whole window adds to one map: one value per channel, everywhere the same.

    Args:
        source: Channels of the satellite features.
        width: Channels of the map.
        dropout: Rate between the layers.
    """

    def __init__(self, source: int, width: int, dropout: float) -> None:
        super().__init__()
        a, b, c, d = collapsed_widths(source, width)
        self.layers = nn.Sequential(
            *(nn.Linear(a, b), nn.Dropout(dropout), nn.ReLU()),
            *(nn.Linear(b, c), nn.Dropout(dropout), nn.ReLU()),
            nn.Linear(c, d),
        )

    def forward(self, mean_ND: Tensor) -> Tensor:
        """Give the addend, shape (N, D, 1, 1), from the features' mean over the window."""
        addend: Tensor = self.layers(mean_ND)
        return addend[:, :, None, None]


class UTAndTFusion(nn.Module):
    """What Sentinel-2 adds to each of a U-Net's maps.

    Args:
        inputs: Sizes and resolutions of both inputs.
        footprint: See `FootprintResize`.
        source: Channels of the satellite features.
        widths: Channels of the maps.
        strides: Aerial pixels per pixel of each map.
        dropout: Rate in the collapsed fusion.
    """

    def __init__(
        self,
        inputs: InputConfig,
        footprint: Footprint,
        source: int,
        widths: Sequence[int],
        strides: Sequence[int],
        dropout: float,
    ) -> None:
        super().__init__()
        sides = [inputs.tile_size // stride for stride in strides]
        self.cropped = nn.ModuleList(
            CroppedFusion(FootprintResize(inputs, footprint, side), source, width)
            for side, width in zip(sides, widths, strict=True)
        )
        self.collapsed = nn.ModuleList(CollapsedFusion(source, w, dropout) for w in widths)

    def forward(self, features_NDhw: Tensor, maps: Sequence[Tensor]) -> list[Tensor]:
        """Give the maps with what is added to each."""
        mean_ND = features_NDhw.mean(dim=(2, 3))
        pairs = zip(self.cropped, self.collapsed, maps, strict=True)
        return [item + crop(features_NDhw) + whole(mean_ND) for crop, whole, item in pairs]


class MetadataRows(nn.Module):
    """What is known of an image to one value per row of the deepest map.

    Args:
        rows: Rows of that map; 16 for tiles of 512 px.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for source, width in ((METADATA_VALUES, 64), (64, 32), (32, rows)):
            layers += [nn.Linear(source, width), nn.Dropout(METADATA_DROPOUT), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, metadata_NM: Tensor) -> Tensor:
        """Give the addend, shape (N, 1, H, 1)."""
        addend: Tensor = self.layers(metadata_NM)
        return addend[:, None, :, None]
