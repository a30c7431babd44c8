"""Stacks of convolution, BatchNorm and ReLU, of which U-Nets are made."""

from torch import nn


def conv_norm_relu(source: int, width: int, kernel: int = 3, *, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, BatchNorm and ReLU; the size stays. The kernel is odd."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(source, width, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def double_conv(source: int, width: int, *, dropout: float = 0.0) -> nn.Sequential:
    """Two convolutions of 3 x 3 with BatchNorm and ReLU; then whole channels are dropped."""
    stack = nn.Sequential(*conv_norm_relu(source, width), *conv_norm_relu(width, width))
    return stack.append(nn.Dropout2d(dropout)) if dropout else stack
