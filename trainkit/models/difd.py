"""DIFD: DeepLabV3+ whose decoder also takes a map of the same ground made of Sentinel-2.

    aerial (N,3,512,512) ----- DeepLab maps --- high (N,256,32,32), low (N,48,128,128) --+
    satellite (N,12,B,32,32) - satellite stream --------- features (N,48,128,128) -------+- decoder

The satellite window covers the tile's footprint exactly, at one cell per 16 aerial pixels ("R3").
The paper's window of 26 cells ("R2") comes to 128 pixels by one transposed convolution of stride 5,
whose pixels lie up to one off; what it does not say, its geometry among it, is a config's choice.

Reference: Berka et al. 2025 (DIFD), arXiv 2503.22909.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from ..config import TrainConfig
from ..joint_config import DifdConfig
from ..satellite_channels import HIGH_PERCENT, LOW_PERCENT
from .deeplab import HIGH_STRIDE, LOW_STRIDE, DeepLabAerial, DeepLabDecoder
from .joint import Features, JointModel
from .landcover import PartTensor, SampleList
from .satellite_channels import SatelliteChannels, composite
from .upsampling import upsampler

# Shape letters: N batch, T dates, B bands, D channels, h w cells, H W aerial pixels, K classes.

R2_STRIDE = 5
"""Pixels at stride 4 per cell in geometry R2: 26 cells become 128 pixels."""

MOST_SAMPLES = 512
"""Percentiles are taken from no more training samples than this, evenly spread."""


class SatelliteStream(nn.Module):
    """Sentinel-2 series to one map on the aerial map at stride 4: the paper's `llf2`.

    Args:
        config: Channels, widths, geometry and upsampler.
        bands: Bands B of a date, by name.
    """

    def __init__(self, config: DifdConfig, bands: tuple[str, ...]) -> None:
        super().__init__()
        self.channels = SatelliteChannels(config.satellite_channels, bands)
        count, widths = len(config.satellite_channels), config.satellite_widths
        self.enter = nn.Sequential(
            nn.Conv2d(count, count, 3, padding=1, groups=count, bias=False),
            nn.BatchNorm2d(count),
            nn.ELU(),
            nn.Conv2d(count, widths[0], 1),
        )
        strides = [1] * (len(widths) - 1)
        if config.geometry == "R2":
            strides[0] = R2_STRIDE
        # TCL: transposed convolutions, of which one may enlarge.
        self.refine = nn.Sequential(
            *(
                layer
                for (a, b), stride in zip(pairwise(widths), strides, strict=True)
                for layer in transposed(a, b, stride)
            )
        )
        last = widths[-1]
        self.up = upsampler(config.upsampler, last, last) if config.geometry == "R3" else None
        self.project = nn.Sequential(
            nn.Conv2d(last, config.low_width, 1, bias=False),
            nn.BatchNorm2d(config.low_width),
            nn.ELU(),
        )

    def forward(self, satellite: Tensor, date_mask: Tensor) -> Features:
        """Give the map, shape (N, D, H/4, W/4).

        Args:
            satellite: Reflectance, shape (N, T, B, h, w).
            date_mask: 1 where the date is real, else 0, shape (N, T).
        """
        made = self.refine(self.enter(self.channels(composite(satellite, date_mask))))
        if self.up is not None:
            made = self.up(made)
        return (self.project(made),)


def transposed(source: int, width: int, stride: int) -> tuple[nn.Module, ...]:
    """Transposed convolution that enlarges by its stride, with BatchNorm and ELU."""
    kernel = 3 if stride == 1 else stride
    return (
        nn.ConvTranspose2d(source, width, kernel, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ELU(),
    )


class Difd(JointModel):
    """DIFD.

    Args:
        config: A whole training run.
        difd: Its architecture.
    """

    satellite: SatelliteStream
    satellite_takes = ("satellite", "date_mask")

    def __init__(self, config: TrainConfig, difd: DifdConfig) -> None:
        super().__init__(config)
        inputs, size = config.input, config.input.tile_size
        self.aerial = DeepLabAerial(difd, inputs)
        self.satellite = SatelliteStream(difd, inputs.satellite_bands)
        lows = (difd.low_width, difd.low_width)
        self.decoder = DeepLabDecoder(difd, lows, config.num_classes, full_size=True)
        high, low = size // HIGH_STRIDE, size // LOW_STRIDE

        def features(name: str, width: int, side: int) -> PartTensor:
            return PartTensor(name=name, dtype=torch.float32, shape=(width, side, side))

        self.aerial_features = (
            features("aerial_high", difd.width, high),
            features("aerial_low", difd.low_width, low),
        )
        self.satellite_features = (features("satellite_low", difd.low_width, low),)

    def prepare(self, samples: SampleList) -> None:
        """Take the percentiles of enhanced bands from the composites of the training samples."""
        channels = self.satellite.channels
        if not channels.enhanced:
            return
        step = -(-len(samples) // MOST_SAMPLES)
        order = [channels.bands.index(band) for band in channels.enhanced]
        found = []
        for index in range(0, len(samples), step):
            series = samples[index].satellite
            if series is None:
                raise ValueError(f"{samples[index].id} was read without its satellite series")
            mean = composite(
                torch.from_numpy(series.series)[None], torch.from_numpy(series.date_mask)[None]
            )
            found.append(mean[0, order].flatten(1).numpy())
        values = np.concatenate(found, axis=1)
        low, high = np.percentile(values, (LOW_PERCENT, HIGH_PERCENT), axis=1)
        channels.set_percentiles(low.tolist(), high.tolist())

    def facts(self) -> dict[str, object]:
        """Give the reflectance that becomes 0 and the one that becomes 1, by enhanced band."""
        channels = self.satellite.channels
        limits = zip(channels.low.tolist(), channels.high.tolist(), strict=True)
        found = dict(zip(channels.enhanced, map(list, limits), strict=True))
        return {"percentiles": found} if found else {}
