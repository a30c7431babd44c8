import pytest
import torch
from torch import Tensor, nn

from exporter.receptive import Receptive, measure
from trainkit.models import Part, PartTensor

SIDE = 256


class Blur(nn.Module):
    """Averages at stride 4 that see a given number of pixels further than their own four."""

    def __init__(self, reach: int, *, pooled: bool = False) -> None:
        super().__init__()
        self.mean = nn.AvgPool2d(4 + 2 * reach, stride=4, padding=0)
        self.reach = reach
        self.pooled = pooled

    def forward(self, aerial: Tensor) -> Tensor:
        image = nn.functional.pad(aerial.float(), (self.reach,) * 4)
        logits: Tensor = self.mean(image)
        return logits + logits.mean() if self.pooled else logits


def part(module: nn.Module, name: str = "aerial") -> Part:
    return Part(
        name=name,
        role="aerial",
        module=module,
        inputs=(PartTensor(name="aerial", dtype=torch.uint8, shape=(3, SIDE, SIDE)),),
        outputs=(PartTensor(name="logits", dtype=torch.float32, shape=(3, 64, 64)),),
    )


@pytest.mark.parametrize(("reach", "radius"), [(0, 32), (20, 32), (28, 32), (29, 64), (80, 96)])
def test_the_radius_is_the_reach_rounded_up_to_the_stride(reach: int, radius: int) -> None:
    # Four more pixels are read by the enlargement of the logits.
    found = measure([part(Blur(reach))], halo=96)
    assert found == Receptive(radius_px=radius, halo_px=96, change_beyond_halo=0.0)


def test_a_network_that_sees_the_whole_tile_has_no_radius() -> None:
    found = measure([part(Blur(0, pooled=True))], halo=32)
    assert found.radius_px is None
    assert found.change_beyond_halo is not None
    assert found.change_beyond_halo > 0


def test_what_a_halo_leaves_out_is_measured() -> None:
    found = measure([part(Blur(60))], halo=32)
    assert found.radius_px == 64
    assert found.change_beyond_halo is not None
    assert found.change_beyond_halo > 1e-3


def test_of_several_branches_the_one_that_sees_furthest_counts() -> None:
    near, far = part(Blur(0)), part(Blur(60), "aerial_2")
    assert measure([near, far], halo=64).radius_px == 64
    assert measure([near, part(Blur(0, pooled=True))], halo=64).radius_px is None


def test_a_model_without_an_aerial_branch_is_not_measured() -> None:
    assert measure([], halo=64) == Receptive(radius_px=None, halo_px=64, change_beyond_halo=None)
