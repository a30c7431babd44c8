"""U-Nets: parameters, wiring, and what a pixel sees."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainkit.aerial_config import (
    AerialConfig,
    CseUNetConfig,
    CseUNetVariant,
    MultiResUNetConfig,
    UNetConfig,
)
from trainkit.config import InputConfig
from trainkit.models.architectures import build_aerial
from trainkit.models.cse_unet import ContextEncoder, ContextSkip
from trainkit.models.multires_unet import MultiResBlock, MultiResUNet
from trainkit.models.unet import UNet

FLAIR = InputConfig(tile_size=256)
RGB = InputConfig(
    aerial_bands=("red", "green", "blue"), aerial_mean=(90,) * 3, aerial_std=(30,) * 3
)
DECK = CseUNetConfig(variant="deck", dropout=0.2)
SMALL = (4, 6, 8, 10, 12)


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@pytest.mark.parametrize(
    ("config", "inputs", "num_classes", "count"),
    [
        (CseUNetConfig(), RGB, 6, 34_570_886),
        (CseUNetConfig(), RGB, 7, 34_570_951),
        (CseUNetConfig(widths=(32, 64, 128, 256, 512)), RGB, 6, 8_648_006),
        (DECK, RGB, 7, 36_988_807),
        (UNetConfig(), FLAIR, 13, 24_444_381),
        (MultiResUNetConfig(), RGB, 6, 7_245_034),
    ],
)
def test_parameters_are_those_of_the_sources(
    config: AerialConfig, inputs: InputConfig, num_classes: int, count: int
) -> None:
    with torch.device("meta"):
        assert parameters(build_aerial(config, inputs, num_classes)) == count


@torch.no_grad()
def test_the_u_net_computes_what_the_library_s_does() -> None:
    torch.manual_seed(3)
    ours = settled(UNet(UNetConfig(), FLAIR, 13))
    theirs = smp.Unet("resnet34", encoder_weights=None, in_channels=5, classes=13).eval()
    assert parameters(theirs) == parameters(ours)
    theirs.encoder.load_state_dict(ours.encoder.backbone.state_dict())
    for block, mine in zip(theirs.decoder.blocks, reversed(ours.decoder.blocks), strict=True):
        values = mine.state_dict().values()
        block.load_state_dict(dict(zip(block.state_dict(), values, strict=True)))
    theirs.segmentation_head[0].load_state_dict(ours.head.state_dict())
    image = torch.randn(1, 5, 64, 96)
    torch.testing.assert_close(ours.network(image), theirs(image), atol=1e-4, rtol=1e-4)


def test_the_u_net_takes_an_encoder_s_weights_from_a_file_and_may_leave_them_as_they_are(
    tmp_path: Path,
) -> None:
    small = UNetConfig(encoder_widths=(8, 12, 16, 24), encoder_depths=(1, 1, 1, 1))
    known = UNet(small, RGB, 3).encoder.backbone.state_dict()
    torch.save(known, tmp_path / "weights.pth")
    given = replace(small, pretrained=str(tmp_path / "weights.pth"), freeze_encoder=True)
    model = UNet(given, FLAIR, 3)
    found = model.encoder.backbone.state_dict()
    torch.testing.assert_close(found["conv1.weight"][:, :3], known["conv1.weight"])
    torch.testing.assert_close(found["layer4.0.conv1.weight"], known["layer4.0.conv1.weight"])
    trained = {key.split(".")[0] for key, p in model.named_parameters() if p.requires_grad}
    assert trained == {"decoder", "head"}


def test_the_encoder_as_drawn_merges_a_chain_of_its_own() -> None:
    encoder = encoder_of("figure")
    (e1, e2, e3, e4, bridge), (a1, a2, a3, a4) = encoder.blocks, encoder.auxiliary
    image = torch.randn(1, 3, 32, 48)
    one = e1(image)
    context_1 = a1(one)
    two = e2(merged(one, context_1))
    context_2 = a2(F.relu(context_1))
    three = e3(merged(two, context_2))
    context_3 = a3(F.relu(context_2))
    four = e4(merged(three, context_3))
    last = bridge(merged(four, a4(F.relu(context_3))))
    torch.testing.assert_close(encoder(image), [one, two, three, four, last])


def test_the_deck_s_encoder_merges_what_it_makes_of_the_merged_maps() -> None:
    encoder = encoder_of("deck")
    (e1, e2, e3, e4, bridge), (a1, a2, a3, a4) = encoder.blocks, encoder.auxiliary
    image = torch.randn(1, 3, 32, 48)
    one = e1(image)
    merged_1 = merged(one, a1(image))
    two = e2(merged_1)
    merged_2 = merged(two, a2(merged_1))
    three = e3(merged_2)
    merged_3 = merged(three, a3(merged_2))
    four = e4(merged_3)
    last = bridge(merged(four, a4(merged_3)))
    torch.testing.assert_close(encoder(image), [one, two, three, four, last])


@pytest.mark.parametrize(
    ("variant", "reach", "width"), [("figure", (10, 7, 4, 1), 4), ("deck", (7, 5, 3, 1), 8)]
)
def test_a_skip_sees_as_far_as_its_stack_and_its_dilation(
    variant: CseUNetVariant, reach: tuple[int, ...], width: int
) -> None:
    for level, pixels in enumerate(reach):
        skip = ContextSkip(variant, level, 4)
        assert skip.width == width
        assert field(skip, 4) == (pixels, pixels)


def test_blocks_and_paths_of_the_multires_u_net_have_the_paper_s_widths() -> None:
    model = MultiResUNet(MultiResUNetConfig(), RGB, 6)
    assert [block.width for block in model.encoder] == [51, 105, 212, 426, 853]
    assert [block.width for block in model.decoder] == [51, 105, 212, 426]
    assert [len(list(path.children())) for path in model.paths] == [4, 3, 2, 1]
    maps = [torch.randn(1, width, 4, 4) for width in (51, 105, 212, 426)]
    given = [path(map_NCHW) for path, map_NCHW in zip(model.paths, maps, strict=True)]
    assert [map_NCHW.shape[1] for map_NCHW in given] == [32, 64, 128, 256]
    assert field(MultiResBlock(3, 16, 1.67), 3) == (3, 3)


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        CseUNetConfig(widths=SMALL),
        CseUNetConfig(widths=SMALL, variant="deck"),
        MultiResUNetConfig(widths=SMALL),
        UNetConfig(encoder_widths=SMALL[:4], encoder_depths=(1, 1, 1, 1)),
    ],
)
def test_a_moved_image_gives_a_moved_map(config: AerialConfig) -> None:
    torch.manual_seed(1)
    # Wide enough that the middle sees no border.
    branch = build_aerial(config, RGB, 3)
    image = torch.randint(0, 256, (1, 3, 64, 832), dtype=torch.uint8)
    for norm in (module for module in branch.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None  # so that one pass gives every layer a spread of 1
    branch.train()(image)
    branch.eval()
    left, right = branch(image[..., :800]), branch(image[..., 32:])
    torch.testing.assert_close(left[..., 384:448], right[..., 352:416], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CseUNetConfig(widths=(8, 16)), r"widths is \[8, 16\]; give 5 values"),
        (lambda: UNetConfig(decoder_widths=(8, 0, 8, 8, 8)), "give 5 values of 1 to 65536"),
        (lambda: MultiResUNetConfig(path_lengths=(1, 1, 1)), r"path_lengths .* give 4 values"),
        (lambda: MultiResUNetConfig(widths=(2, 4, 8, 16, 32)), "is below 6"),
    ],
)
def test_widths_that_make_no_network_are_refused(
    make: Callable[[], AerialConfig], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def settled(module: nn.Module) -> Any:
    """Give norms statistics as training would, and leave the module in evaluation mode."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0.0, 0.1)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.7, 1.4)  # type: ignore[union-attr]
    return module.eval()


def encoder_of(variant: CseUNetVariant) -> ContextEncoder:
    torch.manual_seed(5)
    encoder: ContextEncoder = settled(
        ContextEncoder(CseUNetConfig(variant=variant, widths=SMALL), channels=3)
    )
    return encoder.requires_grad_(False)


def merged(level: Tensor, context: Tensor) -> Tensor:
    return F.relu(F.max_pool2d(level, 2) + context)


def field(module: nn.Module, channels: int) -> tuple[int, int]:
    """Rows and columns around a pixel that its value depends on."""
    module.eval()
    for weight in module.parameters():
        weight.data.abs_()  # so that nothing cancels or is cut off
    image = torch.rand(1, channels, 41, 43, requires_grad=True)
    module(image)[:, :, 20, 21].sum().backward()
    assert image.grad is not None
    rows, cols = image.grad[0].abs().sum(dim=0).nonzero().T
    return int(rows.max()) - 20, int(cols.max()) - 21
