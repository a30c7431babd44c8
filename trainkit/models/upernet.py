"""UPerNet: an encoder from timm, pooled context at its coarsest map, and a pyramid over all maps.

    stride 32   map - pooled context ------------------------+
    stride 16   map - 1 x 1 - + <- enlarged by two ----------+
    stride  8   map - 1 x 1 - + <- enlarged by two ----------+- joined at stride 4 - 3 x 3 - logits
    stride  4   map - 1 x 1 - + <- enlarged by two ----------+
    stride  2                   enlarged by two, and halved -+

Reference: Xiao et al. 2018, Unified Perceptual Parsing for Scene Understanding, arXiv 1807.10221,
in the form of segmentation_models_pytorch 0.4.0, which FLAIR-HUB's published weights are of. That
form has a level at stride 2 also for encoders without a map there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..aerial_config import UPerNetConfig
from ..config import InputConfig
from .aerial import AerialBranch
from .convolutions import conv_norm_relu
from .encoder import COARSEST, STRIDES, Encoder

# Shape letters: N batch, C channels, H W pixels of a map, K classes, h w cells of a pooled map.

POOLED = (1, 2, 3, 6)
"""Sides of the pooled maps, in cells."""


def pooling_matrix(size: int, cells: int) -> Tensor:
    """Weights that average a side into cells, which overlap where it is no multiple of them.

    Returns:
        Shape (cells, size); rows add up to 1.
    """
    weights = torch.zeros(cells, size)
    for i in range(cells):
        first, last = i * size // cells, -(-(i + 1) * size // cells)
        weights[i, first:last] = 1.0 / (last - first)
    return weights


def enlarging_matrix(cells: int, size: int, *, corners: bool = False) -> Tensor:
    """Weights that enlarge cells linearly to a side, shape (size, cells).

    Args:
        cells: Cells of the side.
        size: Pixels of the enlarged side.
        corners: Whether the outermost pixels lie on the outermost cells' centres; else the sides'
            ends lie on each other, and border cells are repeated.
    """
    if corners:
        position = torch.arange(size) * ((cells - 1) / (size - 1))
    else:
        position = ((torch.arange(size) + 0.5) * cells / size - 0.5).clamp(0.0, cells - 1.0)
    distance = (position[:, None] - torch.arange(cells)).abs()
    return (1.0 - distance).clamp(min=0.0)


class PooledContext(nn.Module):
    """Averages over ever smaller parts of a map, joined with it.

    Matrices pool and enlarge, as graphs have no pooling into parts that overlap.

    Args:
        source: Channels of the map.
        width: Channels that it gives.
        side: Side of the map, in pixels.
    """

    def __init__(self, source: int, width: int, side: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            conv_norm_relu(source, source // len(POOLED), 1) for _ in POOLED
        )
        self.join = conv_norm_relu(source + source // len(POOLED) * len(POOLED), width, 1)
        for cells in POOLED:
            self.register_buffer(f"pool_{cells}", pooling_matrix(side, cells), persistent=False)
            self.register_buffer(f"grow_{cells}", enlarging_matrix(cells, side), persistent=False)

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Give a map of the same size."""
        found = [map_NCHW]
        for cells, branch in zip(POOLED, self.branches, strict=True):
            pool, grow = self.get_buffer(f"pool_{cells}"), self.get_buffer(f"grow_{cells}")
            pooled_NChw = pool @ map_NCHW @ pool.T
            found.append(grow @ branch(pooled_NChw) @ grow.T)
        joined: Tensor = self.join(torch.cat(found, dim=1))
        return joined


def enlarge(map_NCHW: Tensor, scale: float) -> Tensor:
    """Enlarge bilinearly."""
    return F.interpolate(map_NCHW, scale_factor=scale, mode="bilinear", align_corners=False)


def through_stride_2(map_NCHW: Tensor) -> Tensor:
    """Enlarge by two and halve again, bilinearly: an eighth of each neighbour is mixed in.

    Border pixels are repeated; the map of four times the pixels is never made.
    """
    for dim in (2, 3):
        size = map_NCHW.shape[dim]
        before = torch.cat((map_NCHW.narrow(dim, 0, 1), map_NCHW.narrow(dim, 0, size - 1)), dim)
        after = torch.cat(
            (map_NCHW.narrow(dim, 1, size - 1), map_NCHW.narrow(dim, size - 1, 1)), dim
        )
        map_NCHW = 0.75 * map_NCHW + 0.125 * (before + after)
    return map_NCHW


class UPerNetDecoder(nn.Module):
    """Maps at strides 4, 8, 16 and 32 to logits at stride 1.

    Args:
        widths: Channels of the maps, finest first.
        width: Channels of the pyramid.
        head_width: Channels of the map that the classes are read from.
        side: Side of the coarsest map, in pixels.
        num_classes: Classes K.
    """

    grow_Hh: Tensor

    def __init__(
        self, widths: tuple[int, ...], width: int, head_width: int, side: int, num_classes: int
    ) -> None:
        super().__init__()
        self.context = PooledContext(widths[-1], width, side)
        self.laterals = nn.ModuleList(conv_norm_relu(wide, width, 1) for wide in widths[:-1])
        self.join = conv_norm_relu((len(widths) + 1) * width, head_width)
        self.head = nn.Conv2d(head_width, num_classes, 1)
        finest = side * COARSEST // STRIDES[0]
        # Corners on corners, as the published heads have it.
        grow = enlarging_matrix(finest, finest * STRIDES[0], corners=True)
        self.register_buffer("grow_Hh", grow, persistent=False)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give logits, shape (N, K, H, W); the maps come finest first."""
        levels = [self.context(maps[-1])]
        for i in reversed(range(len(maps) - 1)):
            levels.append(enlarge(levels[-1], 2.0) + self.laterals[i](maps[i]))
        coarsest_first = [
            enlarge(level, 2.0 ** (len(levels) - 1 - i)) for i, level in enumerate(levels[:-1])
        ]
        joined = torch.cat((*coarsest_first, levels[-1], through_stride_2(levels[-1])), dim=1)
        logits: Tensor = self.head(self.join(joined))
        return self.grow_Hh @ logits @ self.grow_Hh.T


class UPerNet(AerialBranch):
    """An encoder from timm and the decoder above; logits at stride 1.

    Args:
        config: Encoder and decoder.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """

    def __init__(self, config: UPerNetConfig, inputs: InputConfig, num_classes: int) -> None:
        super().__init__(inputs)
        self.encoder = Encoder(config, len(inputs.aerial_bands), inputs.tile_size, STRIDES)
        self.fixed_size = inputs.tile_size
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)
        self.decoder = UPerNetDecoder(
            self.encoder.widths,
            config.width,
            config.head_width,
            inputs.tile_size // COARSEST,
            num_classes,
        )

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W), from a normalised image."""
        logits: Tensor = self.decoder(self.encoder(image_NCHW))
        return logits
