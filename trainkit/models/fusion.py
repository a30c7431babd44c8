"""Late fusion: the branches' logits on the tile's grid, weighed and added.

The weighted geometric mean of softmaxes is the softmax of the weighted sum of logits:

    p(k) ~ p_1(k)^w_1 * p_2(k)^w_2   <=>   p = softmax(w_1 * z_1 + w_2 * z_2)

A tile of 512 px at 0.2 m is 102.4 m, 10.24 cells of 10 m around the centre of the window, so that
the satellite logits are interpolated at fractional cells, never cropped to whole ones:

    |<------------------ window, 40 cells ----------------->|
                      |<- tile, 10.24 cells ->|

Reference: Dimitrovski et al. 2024 (LF-DLM), arXiv 2410.00469.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..config import InputConfig

# Shape letters: N batch, K classes, H W aerial pixels, h w Sentinel-2 cells.


def footprint_matrix(
    *, pixels: int, resolution_m: float, cells: int, cell_m: float
) -> tuple[slice, NDArray[np.float32]]:
    """Weights that interpolate cells linearly at the pixel centres of a tile with the same centre.

    Args:
        pixels: Side of the tile, in pixels.
        resolution_m: Metres per pixel.
        cells: Side of the window, in cells.
        cell_m: Metres per cell.

    Returns:
        The cells that are needed, and the weights, shape (pixels, needed cells); rows add up to 1.
        Pixels beyond the outermost cell centres take the outermost cell.
    """
    metres = (np.arange(pixels) + 0.5 - pixels / 2) * resolution_m
    position = np.clip(metres / cell_m + cells / 2 - 0.5, 0.0, cells - 1.0)
    before = np.minimum(np.floor(position).astype(np.intp), max(cells - 2, 0))
    after = np.minimum(before + 1, cells - 1)
    share = position - before
    weights = np.zeros((pixels, cells))
    rows = np.arange(pixels)
    np.add.at(weights, (rows, before), 1.0 - share)
    np.add.at(weights, (rows, after), share)
    needed = slice(int(before[0]), int(after[-1]) + 1)
    return needed, weights[:, needed].astype(np.float32)


class AerialUpsample(nn.Module):
    """Aerial logits to the tile's grid, bilinearly.

    Args:
        stride: Aerial pixels per pixel of the logits.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, logits_NKhw: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W)."""
        if self.stride == 1:
            return logits_NKhw
        return F.interpolate(logits_NKhw, scale_factor=float(self.stride), mode="bilinear")


class SatelliteUpsample(nn.Module):
    """Satellite logits of a window to the tile at its centre, bilinearly between cell centres.

    Args:
        config: Sizes and resolutions of both inputs.
    """

    weights_Hh: Tensor

    def __init__(self, config: InputConfig) -> None:
        super().__init__()
        self.needed, weights = footprint_matrix(
            pixels=config.tile_size,
            resolution_m=config.resolution_m,
            cells=config.satellite_window,
            cell_m=config.satellite_resolution_m,
        )
        self.register_buffer("weights_Hh", torch.from_numpy(weights), persistent=False)

    def forward(self, logits_NKhw: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W)."""
        part = logits_NKhw[:, :, self.needed, self.needed]
        return self.weights_Hh @ (part @ self.weights_Hh.T)


class LateFusion(nn.Module):
    """Bring every branch's logits to the tile's grid, weigh them per class and add them.

    Args:
        config: Sizes and resolutions of both inputs.
        branches: Names of the branches; "satellite" is a satellite branch, the others are aerial.
        strides: Aerial pixels per pixel of the logits of each aerial branch, by name.
        weights: One weight per branch.
        num_classes: Classes K.
    """

    weights: Tensor

    def __init__(
        self,
        config: InputConfig,
        branches: Sequence[str],
        strides: Mapping[str, int],
        weights: Sequence[float],
        num_classes: int,
    ) -> None:
        super().__init__()
        self.branches = tuple(branches)
        self.resize = nn.ModuleList(
            SatelliteUpsample(config) if name == "satellite" else AerialUpsample(strides[name])
            for name in self.branches
        )
        per_class = torch.tensor(list(weights), dtype=torch.float32)[:, None]
        self.register_buffer("weights", per_class.repeat(1, num_classes))

    def set_weights(self, weights: NDArray[np.float32]) -> None:
        """Replace the weights.

        Args:
            weights: Shape (branches,) or (branches, K).
        """
        given = torch.from_numpy(np.asarray(weights, dtype=np.float32))
        if given.ndim == 1:
            given = given[:, None].expand_as(self.weights)
        if given.shape != self.weights.shape:
            raise ValueError(
                f"fusion weights have shape {tuple(given.shape)}; "
                f"expected {tuple(self.weights.shape)}"
            )
        self.weights.copy_(given)

    def upsample(self, branch: str, logits: Tensor) -> Tensor:
        """Bring one branch's logits, unweighted, to the tile's grid, shape (N, K, H, W)."""
        resized: Tensor = self.resize[self.branches.index(branch)](logits)
        return resized

    def forward(self, *logits: Tensor) -> Tensor:
        """Fuse one tensor of logits per branch, in their order, to shape (N, K, H, W)."""
        # Weights come before the resize, which is linear: there are fewer pixels to multiply.
        total: Tensor | None = None
        for i, (resize, item) in enumerate(zip(self.resize, logits, strict=True)):
            weighed = resize(item * self.weights[i][None, :, None, None])
            total = weighed if total is None else total + weighed
        if total is None:
            raise ValueError("there are no logits to fuse; give one tensor per branch")
        return total
