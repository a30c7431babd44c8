"""What every aerial branch is: images as stored in, normalised inside, logits out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..config import InputConfig

# Shape letters: N batch, C aerial channels, H W aerial pixels, K classes.


class AerialInput(nn.Module):
    """The way in of everything that takes aerial tiles: checks sizes and normalises.

    Args:
        inputs: Bands, their statistics and the tile size.
    """

    step = 32
    """Sides of the input are multiples of this many pixels: the stride of the coarsest map."""
    fixed_size = 0
    """Side of the only input that it takes, in pixels; 0 where any multiple of `step` will do."""

    mean: Tensor
    std: Tensor

    def __init__(self, inputs: InputConfig) -> None:
        super().__init__()
        statistics = {"mean": inputs.aerial_mean, "std": inputs.aerial_std}
        for name, values in statistics.items():
            self.register_buffer(name, torch.tensor(values).view(1, len(values), 1, 1))

    def _normalise(self, aerial: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self._check(aerial.shape[2:])
        return (aerial.float() - self.mean) / self.std

    def _check(self, size: Sequence[int]) -> None:
        fixed, step = self.fixed_size, self.step
        for side in size:
            if (fixed and side != fixed) or side % step or not side:
                valid = fixed or max(step, -(-side // step) * step)
                kind = "exactly" if fixed else "a multiple of"
                raise ValueError(
                    f"the aerial input is {' x '.join(map(str, size))} px; each side must be "
                    f"{kind} {fixed or step}; the next valid size is {valid}"
                )


class AerialBranch(AerialInput):
    """A network for aerial tiles; each architecture is a subclass that says `network`.

    Args:
        inputs: Bands, their statistics and the tile size.
    """

    stride = 1
    """Aerial pixels per pixel of the logits."""

    def network(self, image_NCHW: Tensor) -> Tensor:
        """Give logits, shape (N, K, H/stride, W/stride), from a normalised image."""
        raise NotImplementedError

    def network_train(self, image_NCHW: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give what `network` gives, and logits of an auxiliary head at stride 8 if there is one.

        The auxiliary head is for training alone: it is never exported.
        """
        return self.network(image_NCHW), None

    def forward(self, aerial: Tensor) -> Tensor:
        """Give logits, shape (N, K, H/stride, W/stride), from uint8 of shape (N, C, H, W).

        Raises:
            ValueError: If H or W is not a size that the network takes.
        """
        return self.network(self._normalise(aerial))

    def forward_train(self, aerial: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give what `network_train` gives, from uint8 of shape (N, C, H, W)."""
        return self.network_train(self._normalise(aerial))
