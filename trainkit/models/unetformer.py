"""UNetFormer: an encoder, and a decoder of convolutions beside window attention.

    res4 (32) - 1x1 - GLTB - WF - GLTB - WF - GLTB - FRH - head -> logits at stride 4
                             |           |           |
    res3 (16), res2 (8), res1 (4) -------+-----------+

Reference: Wang et al. 2022, UNetFormer, arXiv 2109.08417. Written from the description.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..aerial_config import UNetFormerConfig
from ..config import InputConfig
from ..recipe import TILE_STEP
from .aerial import AerialBranch
from .encoder import Encoder

# Shape letters: N batch, C channels, H W pixels of a map, K classes.

WINDOW = 8
HEADS = 8


def conv_norm(source: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution without bias and BatchNorm; the size stays."""
    return nn.Sequential(
        nn.Conv2d(source, width, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(width)
    )


def conv_norm_act(source: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution without bias, BatchNorm and ReLU6; the size stays."""
    return conv_norm(source, width, kernel).append(nn.ReLU6())


def upsample(map_NCHW: Tensor, factor: int) -> Tensor:
    """Enlarge a map bilinearly, pixel corners aligned with pixel corners."""
    # A factor, not a size, so that an exported graph holds constants for any batch.
    return F.interpolate(map_NCHW, scale_factor=float(factor), mode="bilinear")


class WindowAttention(nn.Module):
    """Attention among the pixels of each 8 x 8 window, with a learned bias per relative position.

    Args:
        width: Channels in and out.
    """

    index: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(width, 3 * width, 1, bias=False)
        self.scale = (width // HEADS) ** -0.5
        self.bias = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 2, HEADS))
        nn.init.trunc_normal_(self.bias, std=0.02)
        side = torch.arange(WINDOW)
        row, col = (axis.flatten() for axis in torch.meshgrid(side, side, indexing="ij"))
        down = row[:, None] - row[None, :] + WINDOW - 1
        across = col[:, None] - col[None, :] + WINDOW - 1
        self.register_buffer("index", down * (2 * WINDOW - 1) + across, persistent=False)

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Attend; H and W must be multiples of 8."""
        _, width, height, across = map_NCHW.shape
        rows, cols, area = height // WINDOW, across // WINDOW, WINDOW * WINDOW
        qkv = self.qkv(map_NCHW).reshape(-1, 3 * width, rows, WINDOW, cols, WINDOW)
        qkv = qkv.permute(0, 2, 4, 3, 5, 1).reshape(-1, area, 3, HEADS, width // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.bias[self.index].permute(2, 0, 1)
        weights = torch.softmax(query * self.scale @ key.transpose(-2, -1) + bias, dim=-1)
        mixed = (weights @ value).transpose(1, 2).reshape(-1, rows, cols, WINDOW, WINDOW, width)
        out: Tensor = mixed.permute(0, 5, 1, 3, 2, 4).reshape(-1, width, height, across)
        return out


class GlobalLocalAttention(nn.Module):
    """Window attention whose windows are mixed by cross-shaped means, beside two convolutions.

    Args:
        width: Channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.local_fine = conv_norm(width, width, 1)
        self.local_wide = conv_norm(width, width, 3)
        self.attention = WindowAttention(width)
        # Padding of 3 and one reflected line keep the size with a kernel of 8; means count zeros.
        self.mean_rows = nn.AvgPool2d((WINDOW, 1), stride=1, padding=(WINDOW // 2 - 1, 0))
        self.mean_cols = nn.AvgPool2d((1, WINDOW), stride=1, padding=(0, WINDOW // 2 - 1))
        self.project = nn.Sequential(
            nn.Conv2d(width, width, WINDOW, padding=WINDOW // 2 - 1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 1, bias=False),
        )

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Mix; the shape stays."""
        local = self.local_fine(map_NCHW) + self.local_wide(map_NCHW)
        attended = self.attention(map_NCHW)
        mixed = self.mean_rows(F.pad(attended, (0, 0, 0, 1), mode="reflect"))
        mixed = mixed + self.mean_cols(F.pad(attended, (0, 1, 0, 0), mode="reflect"))
        summed: Tensor = F.pad(mixed + local, (0, 1, 0, 1), mode="reflect")
        out: Tensor = self.project(summed)
        return out


class GlobalLocalBlock(nn.Module):
    """GLTB: global-local attention and a two-layer perceptron, each with a shortcut.

    Args:
        width: Channels in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_attention = nn.BatchNorm2d(width)
        self.attention = GlobalLocalAttention(width)
        self.norm_mlp = nn.BatchNorm2d(width)
        self.mlp = nn.Sequential(
            nn.Conv2d(width, 4 * width, 1), nn.ReLU6(), nn.Conv2d(4 * width, width, 1)
        )

    def forward(self, map_NCHW: Tensor) -> Tensor:
        """Mix; the shape stays."""
        map_NCHW = map_NCHW + self.attention(self.norm_attention(map_NCHW))
        out: Tensor = map_NCHW + self.mlp(self.norm_mlp(map_NCHW))
        return out


class WeightedFusion(nn.Module):
    """WF: a skip connection and the map below it, added with two learned weights.

    Args:
        skip_width: Channels of the skip connection.
        width: Channels of the map below, and out.
    """

    def __init__(self, skip_width: int, width: int) -> None:
        super().__init__()
        self.skip = nn.Conv2d(skip_width, width, 1, bias=False)
        self.weights = nn.Parameter(torch.ones(2))
        self.refine = conv_norm_act(width, width, 3)

    def forward(self, below_NCHW: Tensor, skip_NCHW: Tensor) -> Tensor:
        """Enlarge the map below by two and add the skip connection."""
        positive = torch.relu(self.weights)
        share = positive / (positive.sum() + 1e-8)
        out: Tensor = self.refine(
            share[0] * self.skip(skip_NCHW) + share[1] * upsample(below_NCHW, 2)
        )
        return out


class FeatureRefinement(nn.Module):
    """FRH: weighted fusion with the finest skip, then attention over positions and channels.

    Args:
        skip_width: Channels of the finest skip connection.
        width: Channels of the map below, and out.
    """

    def __init__(self, skip_width: int, width: int) -> None:
        super().__init__()
        self.fuse = WeightedFusion(skip_width, width)
        self.position = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, width // 16, 1, bias=False),
            nn.ReLU6(),
            nn.Conv2d(width // 16, width, 1, bias=False),
        )
        self.shortcut = conv_norm(width, width, 1)
        self.project = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 1, bias=False),
        )

    def forward(self, below_NCHW: Tensor, skip_NCHW: Tensor) -> Tensor:
        """Give the map at the size of the skip connection."""
        fused = self.fuse(below_NCHW, skip_NCHW)
        gates = torch.sigmoid(self.position(fused)) + torch.sigmoid(self.channel(fused))
        return F.relu6(self.project(gates * fused) + self.shortcut(fused))


def class_head(width: int, num_classes: int, dropout: float) -> nn.Sequential:
    """3 x 3 convolution with BatchNorm and ReLU6, dropout, 1 x 1 convolution to logits."""
    return nn.Sequential(
        *conv_norm_act(width, width, 3),
        nn.Dropout2d(dropout),
        nn.Conv2d(width, num_classes, 1, bias=False),
    )


class UNetFormerDecoder(nn.Module):
    """Maps at strides 4, 8, 16 and 32 to logits at stride 4.

    Args:
        widths: Channels of the four maps, finest first.
        width: Channels of the decoder.
        num_classes: Classes K.
        auxiliary: Whether there is a second head, for training, on the attention blocks' sum.
        dropout: Rate of both heads.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        *,
        width: int,
        num_classes: int,
        auxiliary: bool,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.enter = conv_norm(widths[3], width, 1)
        self.block4 = GlobalLocalBlock(width)
        self.fuse3 = WeightedFusion(widths[2], width)
        self.block3 = GlobalLocalBlock(width)
        self.fuse2 = WeightedFusion(widths[1], width)
        self.block2 = GlobalLocalBlock(width)
        self.refine = FeatureRefinement(widths[0], width)
        self.head = class_head(width, num_classes, dropout)
        self.aux_head = class_head(width, num_classes, dropout) if auxiliary else None

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Give logits at stride 4, shape (N, K, H/4, W/4)."""
        logits: Tensor = self.head(self.refine(self._attend(maps)[-1], maps[0]))
        return logits

    def forward_train(self, maps: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Give logits at stride 4, and those of the second head at stride 8."""
        at32, at16, at8 = self._attend(maps)
        logits: Tensor = self.head(self.refine(at8, maps[0]))
        if self.aux_head is None:
            return logits, None
        return logits, self.aux_head(upsample(at32, 4) + upsample(at16, 2) + at8)

    def _attend(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        at32 = self.block4(self.enter(maps[3]))
        at16 = self.block3(self.fuse3(at32, maps[2]))
        return at32, at16, self.block2(self.fuse2(at16, maps[1]))


class UNetFormer(AerialBranch):
    """An encoder from timm and the decoder above; logits at stride 4.

    Args:
        config: Encoder and decoder.
        inputs: Bands, their statistics and the tile size.
        num_classes: Classes K.
    """

    stride = 4
    step = TILE_STEP

    def __init__(self, config: UNetFormerConfig, inputs: InputConfig, num_classes: int) -> None:
        super().__init__(inputs)
        self.encoder = Encoder(config, len(inputs.aerial_bands), inputs.tile_size)
        self.fixed_size = self.encoder.fixed_size
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)
        self.decoder = UNetFormerDecoder(
            self.encoder.widths,
            width=config.decoder_width,
            num_classes=num_classes,
            auxiliary=config.auxiliary,
        )

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H/4, W/4), from a normalised image."""
        logits: Tensor = self.decoder(self.encoder(image_NCHW))
        return logits

    def network_train(self, image_NCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give logits at stride 4, and those of the auxiliary head if there is one."""
        logits: tuple[Tensor, Tensor | None] = self.decoder.forward_train(self.encoder(image_NCHW))
        return logits
