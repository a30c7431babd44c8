"""FLAIR-HUB's model under the layer names of its published weights, written out step by step.

Pooling, enlarging and the level at stride 2 are those of segmentation_models_pytorch 0.4.0, whose
decoder FLAIR-HUB's weights are of; the U-TAE leaves out dates that are nothing but zeros. A test
compares it with the model here.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOLS = (1, 2, 3, 6)
GROUPS, HEADS = 4, 4


def conv_norm_relu(source: int, width: int, kernel: int) -> nn.Sequential:
    conv = nn.Conv2d(source, width, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), nn.ReLU())


def named(**modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(modules))


def resize(x: Tensor, size: int) -> Tensor:
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


class Psp(nn.Module):
    def __init__(self, source: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(cells), conv_norm_relu(source, source // 4, 1))
            for cells in POOLS
        )
        self.out_conv = conv_norm_relu(2 * source, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out_conv(
            torch.cat([x, *(resize(block(x), x.shape[-1]) for block in self.blocks)], dim=1)
        )
        return out


class Decoder(nn.Module):
    def __init__(self, widths: Sequence[int], width: int, head_width: int) -> None:
        super().__init__()
        self.psp = Psp(widths[-1], width)
        stages: list[nn.Module] = [
            named(skip_conv=conv_norm_relu(wide, width, 1)) for wide in reversed(widths[:-1])
        ]
        # Stride 2 has no map, and that of the image is never read: one channel stands for it.
        stages += [nn.Identity(), named(skip_conv=conv_norm_relu(1, width, 1))]
        self.fpn_stages = nn.ModuleList(stages)
        self.fpn_bottleneck = conv_norm_relu(5 * width, head_width, 3)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        levels = [self.psp(maps[-1])]
        for stage, skip in zip(self.fpn_stages, reversed(maps[:-1]), strict=False):
            levels.append(resize(levels[-1], skip.shape[-1]) + stage(skip))
        levels.append(resize(levels[-1], 2 * maps[0].shape[-1]))
        same = [resize(level, maps[0].shape[-1]) for level in levels]
        out: Tensor = self.fpn_bottleneck(torch.cat(same, dim=1))
        return out


def layers(*widths: int, norm: str, kernel: int = 3) -> nn.Sequential:
    stack: list[nn.Module] = []
    for source, width in itertools.pairwise(widths):
        conv = nn.Conv2d(source, width, kernel, padding=1, padding_mode="reflect")
        own = nn.GroupNorm(GROUPS, width) if norm == "group" else nn.BatchNorm2d(width)
        stack += [conv, own, nn.ReLU()]
    return named(conv=nn.Sequential(*stack))


class Heads(nn.Module):
    def __init__(self, width: int, key: int) -> None:
        super().__init__()
        self.Q = nn.Parameter(torch.randn(HEADS, key))
        self.fc1_k = nn.Linear(width, HEADS * key)


class TemporalEncoder(nn.Module):
    def __init__(self, width: int, inner: int, key: int) -> None:
        super().__init__()
        self.inconv = nn.Conv1d(width, inner, 1)
        self.attention_heads = Heads(inner, key)
        self.in_norm = nn.GroupNorm(HEADS, width)
        self.out_norm = nn.GroupNorm(HEADS, width)
        self.mlp = nn.Sequential(nn.Linear(inner, width), nn.BatchNorm1d(width), nn.ReLU())
        self.inner, self.key = inner, key

    def forward(self, x: Tensor, days: Tensor) -> tuple[Tensor, Tensor]:
        """Take (T, D, h, w) of one item; give (D, h, w) and attention (G, T, h, w)."""
        dates, width, h, w = x.shape
        cells = x.permute(2, 3, 1, 0).reshape(h * w, width, dates)
        values = self.inconv(self.in_norm(cells)).permute(0, 2, 1)
        size = self.inner // HEADS
        place = torch.arange(size)
        angle = days[:, None] / 1000 ** (2 * (place // 2) / size)
        code = torch.where(place % 2 == 0, angle.sin(), angle.cos()).repeat(1, HEADS)
        values = values + code
        keys = self.attention_heads.fc1_k(values).reshape(h * w, dates, HEADS, self.key)
        scores = torch.einsum("atgk,gk->agt", keys, self.attention_heads.Q) / self.key**0.5
        weights = scores.softmax(dim=-1)
        split = values.reshape(h * w, dates, HEADS, size)
        merged = torch.einsum("agt,atgs->ags", weights, split).reshape(h * w, self.inner)
        out = self.out_norm(self.mlp(merged)).T.reshape(width, h, w)
        return out, weights.permute(1, 2, 0).reshape(HEADS, dates, h, w)


class Utae(nn.Module):
    """Every level has the size of the window: kernels of 3 with a stride of 1."""

    def __init__(self, bands: int, widths: Sequence[int], inner: int, classes: int) -> None:
        super().__init__()
        self.in_conv = named(conv=layers(bands, widths[0], widths[0], norm="group"))
        self.down_blocks = nn.ModuleList(
            named(
                down=layers(a, a, norm="group"),
                conv1=layers(a, b, norm="group"),
                conv2=layers(b, b, norm="group"),
            )
            for a, b in itertools.pairwise(widths)
        )
        self.up_blocks = nn.ModuleList(
            named(
                skip_conv=nn.Sequential(nn.Conv2d(b, b, 1), nn.BatchNorm2d(b), nn.ReLU()),
                up=nn.Sequential(
                    nn.ConvTranspose2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()
                ),
                conv1=layers(2 * b, b, norm="batch"),
                conv2=layers(b, b, norm="batch"),
            )
            for a, b in zip(widths[::-1], widths[-2::-1], strict=False)
        )
        self.temporal_encoder = TemporalEncoder(widths[-1], inner, key=4)
        self.out_conv = named(conv=layers(widths[0], 8, classes, norm="batch"))

    def forward(self, series: Tensor, days: Tensor) -> list[Tensor]:
        """Take (T, B, h, w) of one item without padding; give its maps, coarsest first."""
        levels = [self.in_conv(series)]
        for block in self.down_blocks:
            x = block.get_submodule("conv1")(block.get_submodule("down")(levels[-1]))
            levels.append(x + block.get_submodule("conv2")(x))
        merged, attention = self.temporal_encoder(levels[-1], days)
        maps = [merged[None]]
        for block, level in zip(self.up_blocks, levels[-2::-1], strict=True):
            groups = level.reshape(len(level), HEADS, -1, *level.shape[2:])
            skip = torch.einsum("tgdhw,gthw->gdhw", groups, attention).flatten(0, 1)[None]
            up = block.get_submodule("up")(maps[-1])
            x = block.get_submodule("conv1")(
                torch.cat([up, block.get_submodule("skip_conv")(skip)], dim=1)
            )
            maps.append(x + block.get_submodule("conv2")(x))
        return maps


class PublishedHub(nn.Module):
    """Aerial alone, or with Sentinel-2; its state dict has FLAIR-HUB's names after "model."."""

    def __init__(
        self,
        encoder: str,
        *,
        bands: int,
        classes: int,
        width: int,
        head_width: int,
        satellite: Sequence[int] = (),
        inner: int = 32,
        **settings: Any,
    ) -> None:
        super().__init__()
        backbone: Any = timm.create_model(encoder, features_only=True, in_chans=bands, **settings)
        widths = backbone.feature_info.channels()
        encoders: dict[str, nn.Module] = {"AERIAL_RGBI": named(seg_model=named(model=backbone))}
        if satellite:
            encoders["SENTINEL2_TS"] = Utae(10, satellite, inner, classes)
        self.encoders = nn.ModuleDict(encoders)
        levels = list(reversed(satellite)) or [0] * len(widths)
        # Without a series FLAIR-HUB holds these layers too, and does not run them.
        self.fusion_handler = named(
            conv_f=nn.ModuleList(
                nn.Conv2d(a + b, a, 1) for a, b in zip(widths, levels, strict=True)
            )
        )
        head = nn.Sequential(nn.Conv2d(head_width, classes, 1))
        decoder = Decoder(widths, width, head_width)
        self.main_decoders = nn.ModuleDict(
            {"AERIAL_LABEL-COSIA": named(seg_model=named(decoder=decoder, segmentation_head=head))}
        )

    def forward(
        self, image: Tensor, series: Tensor | None = None, days: Tensor | None = None
    ) -> Tensor:
        """Give logits from one normalised image, shape (1, C, H, W), and digital numbers."""
        backbone = self.encoders["AERIAL_RGBI"].get_submodule("seg_model.model")
        maps = backbone(image)
        if getattr(backbone, "output_fmt", None) == "NHWC":
            maps = [item.permute(0, 3, 1, 2) for item in maps]
        if series is not None and days is not None:
            others = self.encoders["SENTINEL2_TS"](series, days)
            maps = [
                self.fusion_handler.get_submodule(f"conv_f.{i}")(
                    torch.cat([own, resize(other, own.shape[-1])], dim=1)
                )
                for i, (own, other) in enumerate(zip(maps, others, strict=True))
            ]
        task = self.main_decoders["AERIAL_LABEL-COSIA"]
        logits = task.get_submodule("seg_model.segmentation_head")(
            task.get_submodule("seg_model.decoder")(maps)
        )
        return F.interpolate(logits, scale_factor=4.0, mode="bilinear", align_corners=True)


def published_weights(model: PublishedHub) -> dict[str, Tensor]:
    """Its state dict as it is published, with what training leaves beside it."""
    weights = {f"model.{key}": value.clone() for key, value in model.state_dict().items()}
    return weights | {"criterion.AERIAL_LABEL-COSIA.weight": torch.ones(19)}


def with_statistics(model: nn.Module) -> nn.Module:
    """Give norms the statistics of a trained model, so that each of them matters."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.1, generator=generator)
            module.running_var.uniform_(0.7, 1.4, generator=generator)
    return model.eval()
