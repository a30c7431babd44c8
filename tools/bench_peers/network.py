"""The one network that every tool runs: float32 tiles of 0..1 in, logits of the same size out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from torch import Tensor, nn

from exporter import receptive
from exporter.fold import fold_batch_norm
from exporter.graph import part_spec
from exporter.simplify import simplify
from exporter.to_onnx import finish, part_to_onnx
from runtime.classes import LandCoverClass
from trainkit.checkpoint import CHECKPOINT_NAME, build_empty, load_checkpoint
from trainkit.config import load
from trainkit.models import LandCoverModel, LateFusionModel, Part, PartTensor

from .classes import plain_classes
from .raster import open_raster

CNN = "cnn"
CNN_CLASSES = 19
CNN_STRIDE = 4
"""Pixels of a tile per pixel of the small network's last map."""
SAMPLES = 4
"""Tiles that random weights are spread over classes on."""
WHITE = 255.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """What is run, and what to know of it."""

    name: str
    module: nn.Module
    bands: int
    classes: tuple[LandCoverClass, ...]
    tile: int
    """Side of a tile, in pixels."""
    trained: bool


class Logits(nn.Module):
    """A body, then one factor and one summand per class, then the enlargement to full size.

    Args:
        body: From float32 tiles of 0..1 to logits of any size.
        enlarge: From those to the tiles' size.
        classes: Classes K.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, body: nn.Module, enlarge: nn.Module, classes: int) -> None:
        super().__init__()
        self.body = body
        self.enlarge = enlarge
        self.register_buffer("scale", torch.ones(1, classes, 1, 1))
        self.register_buffer("shift", torch.zeros(1, classes, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Give logits, shape (N, K, H, W)."""
        enlarged: Tensor = self.enlarge(self.body(image) * self.scale + self.shift)
        return enlarged

    @torch.no_grad()
    def spread(self, images: Tensor) -> None:
        """Give every class the same mean and spread over some tiles, so that none wins them all."""
        logits = self.body(images)
        std, mean = torch.std_mean(logits, dim=(0, 2, 3), keepdim=True)
        self.scale.copy_(1 / std.clamp(min=1e-12))
        self.shift.copy_(-mean * self.scale)


class _Stored(nn.Module):
    """A model without a satellite branch, up to the weighted sum of its branches."""

    def __init__(self, model: LateFusionModel) -> None:
        super().__init__()
        self.branch = model.unit("aerial")

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.branch(image * WHITE)
        return logits


class _Centred(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image * 4.0 - 2.0


def build(model: str, raster: Path, *, seed: int = 0) -> Network:
    """Build a network; random weights are spread over the classes on tiles of the raster.

    Args:
        model: `cnn`, a preset with one aerial branch and no other, or a checkpoint of one.
        raster: What it is to map.
        seed: Seed of random weights.
    """
    torch.manual_seed(seed)
    if model == CNN:
        network = _cnn(open_raster(raster).count)
    elif (Path(model) / CHECKPOINT_NAME).is_file():
        checkpoint = load_checkpoint(Path(model))
        steps = sum(checkpoint.info.steps.values())
        network = replace(
            _single(checkpoint.model, checkpoint.config.name),
            classes=checkpoint.classes,
            trained=steps > 0,
        )
    else:
        config = load(model)
        network = _single(build_empty(config), config.name)
    network.module.eval()
    if not network.trained and isinstance(network.module, Logits):
        tiles = list(islice(_tiles(raster, network.tile), SAMPLES))
        network.module.spread(torch.from_numpy(np.stack(tiles)))
    return network


def _cnn(bands: int) -> Network:
    """A small convolutional network, so cheap that what tools do around it is seen."""
    widths = (24, 48, 64, 64, 64)
    strides = (1, 2, 2, 1, 1)
    layers: list[nn.Module] = [_Centred()]
    before = bands
    for width, stride in zip(widths, strides, strict=True):
        layers += [nn.Conv2d(before, width, 3, stride=stride, padding=1), nn.ReLU()]
        before = width
    layers.append(nn.Conv2d(before, CNN_CLASSES, 1))
    enlarge = nn.Upsample(scale_factor=float(CNN_STRIDE), mode="bilinear")
    return Network(
        name=CNN,
        module=Logits(nn.Sequential(*layers), enlarge, CNN_CLASSES),
        bands=bands,
        classes=plain_classes(CNN_CLASSES),
        tile=512,
        trained=False,
    )


def _single(model: LandCoverModel, name: str) -> Network:
    if not isinstance(model, LateFusionModel) or model.branch_names != ("aerial",):
        raise SystemExit(
            f"{name} has the branches {', '.join(model.branch_names)}; expected one aerial branch "
            "only, as of unetformer; for a model of both inputs use `dual`"
        )
    config = model.config
    return Network(
        name=name,
        module=Logits(_Stored(model), model.fusion, config.num_classes),
        bands=len(config.input.aerial_bands),
        classes=plain_classes(config.num_classes),
        tile=config.input.tile_size,
        trained=False,
    )


def export(network: Network, path: Path) -> None:
    """Write the network as one ONNX file, with the steps of `segx export`."""
    part = _part(network, torch.float32, network.module)
    traced = part_to_onnx(part)
    fold_batch_norm(traced)
    generator = np.random.default_rng(0)
    feed = generator.random((2, network.bands, network.tile, network.tile), dtype=np.float32)
    simplified = simplify(finish(traced, {}), part_spec(part), {"image": feed})
    onnx.save(finish(simplified.model, {}), path)


def halo_of(network: Network) -> int | None:
    """Halo that holds the whole receptive field, as `segx export` measures it; None for none."""
    part = _part(network, torch.uint8, _FromStored(network.module))
    return receptive.measure([part], halo=network.tile // 8).radius_px


class _FromStored(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, aerial: Tensor) -> Tensor:
        logits: Tensor = self.module(aerial.float() / WHITE)
        return logits


def _part(network: Network, dtype: torch.dtype, module: nn.Module) -> Part:
    side = (network.tile, network.tile)
    return Part(
        name="network",
        role="aerial",
        module=module.eval(),
        inputs=(PartTensor(name="image", dtype=dtype, shape=(network.bands, *side)),),
        outputs=(
            PartTensor(name="logits", dtype=torch.float32, shape=(len(network.classes), *side)),
        ),
    )


def _tiles(raster: Path, size: int) -> Iterator[NDArray[np.float32]]:
    """Whole tiles of a raster side by side, from its middle rows."""
    with open_raster(raster) as source:
        top = max(0, source.height // 2 - size // 2)
        for left in range(0, source.width - size + 1, size):
            pixels = source.read(window=Window(left, top, size, size))
            yield pixels.astype(np.float32) / np.float32(WHITE)
