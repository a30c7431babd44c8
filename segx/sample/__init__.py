"""Synthetic aerial and Sentinel-2 data in the layouts of real data sets.

One invented country is photographed twice: from the air at 0.2 m on a day in July, and by
Sentinel-2 through a year at 10 m. What can be told apart differs, so that two inputs beat one:

* agricultural land and herbaceous vegetation, and plowed land and bare soil, are painted by one
  rule in the aerial image, height included; only the seasons in the Sentinel-2 series differ;
* vineyard and brushwood, and building and impervious surface, share one spectrum through the year;
  only rows, shapes and heights at 0.2 m differ;
* coniferous and deciduous trees differ a little in both.

The pairs are `SEASON_PAIRS` and `DETAIL_PAIRS`. A layout of another resolution or
of other classes derives them from the same land.

Needs numpy and rasterio only.
"""

from .classes import DETAIL_PAIRS, SEASON_PAIRS
from .flair2 import write_flair2
from .flair_hub import write_flair_hub
from .folder import write_folder
from .landcover_ai import write_landcover_ai
from .potsdam import write_potsdam
from .safe import write_safe
from .scene import write_scene
from .summary import Summary, summarise

__all__ = [
    "DETAIL_PAIRS",
    "SEASON_PAIRS",
    "Summary",
    "summarise",
    "write_flair2",
    "write_flair_hub",
    "write_folder",
    "write_landcover_ai",
    "write_potsdam",
    "write_safe",
    "write_scene",
]
