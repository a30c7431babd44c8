"""U-TAE: a U-Net over all dates whose skips are merged by the attention of the coarsest level.

Reference: Garnot and Landrieu 2021, Panoptic Segmentation of Satellite Image Time Series with
Convolutional Temporal Attention Networks, arXiv 2107.07933.

The original finds padded dates by their value and runs only on the others. Here a date mask is an
input: all dates are computed, masked ones are set to zero after every level. Both give the same
numbers, and this form has a fixed shape.
"""

from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..joint_config import SatelliteBranchConfig
from .ltae import TemporalAttention

# Shape letters: N batch, T dates, B bands, D channels, h w cells, G heads, K classes.

_NORM_GROUPS = 4

ORIGINAL_HEAD_WIDTH = 32

Norm = Literal["group", "batch"]


def conv_layer(source: int, width: int, norm: Norm, *, stride: int = 1) -> nn.Sequential:
    """Convolution with reflected borders, norm and ReLU; a stride of 2 halves the size."""
    return nn.Sequential(
        nn.Conv2d(source, width, 2 + stride, stride=stride, padding=1, padding_mode="reflect"),
        nn.GroupNorm(_NORM_GROUPS, width) if norm == "group" else nn.BatchNorm2d(width),
        nn.ReLU(),
    )


class DownBlock(nn.Module):
    """Halve a map, change its width, and refine it with a shortcut; with a stride of 1 it stays."""

    def __init__(self, source: int, width: int, stride: int) -> None:
        super().__init__()
        self.down = conv_layer(source, source, "group", stride=stride)
        self.widen = conv_layer(source, width, "group")
        self.refine = conv_layer(width, width, "group")

    def forward(self, map_NDhw: Tensor) -> Tensor:
        """Give the coarser map."""
        map_NDhw = self.widen(self.down(map_NDhw))
        out: Tensor = map_NDhw + self.refine(map_NDhw)
        return out


class UpBlock(nn.Module):
    """Undo a `DownBlock`'s stride, join a skip connection, and refine with a shortcut."""

    def __init__(self, source: int, skip: int, width: int, stride: int) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(source, width, 2 + stride, stride=stride, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.skip = nn.Sequential(nn.Conv2d(skip, skip, 1), nn.BatchNorm2d(skip), nn.ReLU())
        self.join = conv_layer(width + skip, width, "batch")
        self.refine = conv_layer(width, width, "batch")

    def forward(self, below_NDhw: Tensor, skip_NDhw: Tensor) -> Tensor:
        """Give the finer map."""
        joined = self.join(torch.cat((self.up(below_NDhw), self.skip(skip_NDhw)), dim=1))
        out: Tensor = joined + self.refine(joined)
        return out


class UTAE(nn.Module):
    """Sentinel-2 series to one map of features.

    Args:
        config: Widths and attention.
        bands: Bands B of a date.
    """

    def __init__(self, config: SatelliteBranchConfig, bands: int) -> None:
        super().__init__()
        enc, dec, stride = config.encoder_widths, config.decoder_widths, config.stride
        self.enter = nn.Sequential(
            conv_layer(bands, enc[0], "group"), conv_layer(enc[0], enc[0], "group")
        )
        self.down = nn.ModuleList(DownBlock(a, b, stride) for a, b in pairwise(enc))
        self.attention = TemporalAttention(
            enc[-1],
            n_head=config.n_head,
            d_model=config.d_model,
            d_k=config.d_k,
            norm=config.temporal_norm,
        )
        levels = range(len(enc) - 1, 0, -1)
        self.up = nn.ModuleList(UpBlock(dec[i], enc[i - 1], dec[i - 1], stride) for i in levels)
        self.width = dec[0]

    def forward(self, satellite_NTBhw: Tensor, mask_NT: Tensor, days_NT: Tensor) -> Tensor:
        """Give features (N, D, h, w) at the resolution of the series.

        Args:
            satellite_NTBhw: Reflectance; what masked dates hold changes nothing, be it NaN.
            mask_NT: 1 where the date is real, else 0.
            days_NT: Days from the reference day.
        """
        return self.maps(satellite_NTBhw, mask_NT, days_NT)[-1]

    def maps(self, satellite_NTBhw: Tensor, mask_NT: Tensor, days_NT: Tensor) -> list[Tensor]:
        """Give the merged map of every level, coarsest first; the arguments are `forward`'s."""
        dates = satellite_NTBhw.shape[1]
        mask = mask_NT[:, :, None, None, None]
        level = torch.where(mask > 0, satellite_NTBhw, 0.0)
        levels: list[Tensor] = []
        for block in (self.enter, *self.down):
            level = block(level.flatten(0, 1)).unflatten(0, (-1, dates)) * mask
            levels.append(level)
        merged: Tensor
        merged, attention = self.attention(levels[-1], mask_NT, days_NT)
        maps = [merged]
        for block, skip in zip(self.up, reversed(levels[:-1]), strict=True):
            merged = block(merged, merge_dates(skip, attention))
            maps.append(merged)
        return maps


def merge_dates(skip_NTDhw: Tensor, attention_NGThw: Tensor) -> Tensor:
    """Average a level over its dates, each group of channels with one head's attention.

    Args:
        skip_NTDhw: A level, finer than the attention by a whole factor.
        attention_NGThw: Attention of the coarsest level, zero at masked dates.

    Returns:
        Map of shape (N, D, h, w). The enlarged weights are not renormalised.
    """
    heads, dates, coarse = attention_NGThw.shape[1:4]
    width, height, across = skip_NTDhw.shape[2:]
    flat = attention_NGThw.reshape(-1, heads * dates, coarse, attention_NGThw.shape[4])
    weights = F.interpolate(flat, scale_factor=float(height // coarse), mode="bilinear")
    weights = weights.reshape(-1, heads, dates, 1, height, across).transpose(1, 2)
    grouped = skip_NTDhw.reshape(-1, dates, heads, width // heads, height, across)
    return (grouped * weights).sum(dim=1).flatten(1, 2)


def original_head(source: int, num_classes: int) -> nn.Sequential:
    """Give the head of the original, whose scores are never negative."""
    return nn.Sequential(
        conv_layer(source, ORIGINAL_HEAD_WIDTH, "batch"),
        conv_layer(ORIGINAL_HEAD_WIDTH, num_classes, "batch"),
    )


class SatelliteBranch(nn.Module):
    """U-TAE with a head: series, date mask and days to logits at 10 m.

    Args:
        config: Widths, attention and kind of head.
        bands: Bands B of a date.
        num_classes: Classes K.
    """

    def __init__(self, config: SatelliteBranchConfig, bands: int, num_classes: int) -> None:
        super().__init__()
        self.utae = UTAE(config, bands)
        self.head: nn.Module
        if config.head == "original":
            self.head = original_head(self.utae.width, num_classes)
        else:
            self.head = nn.Conv2d(self.utae.width, num_classes, 1)

    def forward(self, satellite: Tensor, date_mask: Tensor, days: Tensor) -> Tensor:
        """Give logits, shape (N, K, h, w).

        Args:
            satellite: Reflectance, shape (N, T, B, h, w).
            date_mask: 1 where the date is real, else 0, shape (N, T).
            days: Days from the reference day, shape (N, T).
        """
        logits: Tensor = self.head(self.utae(satellite, date_mask, days))
        return logits
