"""What is published of ISPRS Potsdam: bands, classes and their colours, splits, terms."""

from ..classes import LandCoverClass
from ..metrics import IGNORE_INDEX

CRS = "EPSG:32633"
"""UTM zone 33 north, in which Potsdam lies; taken for files that name no CRS."""

RESOLUTION_M = 0.05
TILE_M = 300.0
"""Side of a published tile."""

BANDS = ("red", "green", "blue", "nir", "elevation")
"""Bands in the order in which they are given, of which a data set may lack some."""

BANDS_OF = {
    "RGBIR": ("red", "green", "blue", "nir"),
    "RGB": ("red", "green", "blue"),
    "IRRG": ("nir", "red", "green"),
}
"""Bands of the orthophotos; a band is read from the first kind that has it."""

CLASSES = tuple(
    LandCoverClass(name=name, color=color, scored=scored)
    for name, color, scored in (
        ("impervious surfaces", "#ffffff", True),
        ("building", "#0000ff", True),
        ("low vegetation", "#00ffff", True),
        ("tree", "#00ff00", True),
        ("car", "#ffff00", True),
        ("clutter", "#ff0000", False),
    )
)
"""Classes with the colours of the labels; the metric is over the first five."""

PALETTE = (*((item.rgb, index) for index, item in enumerate(CLASSES)), ((0, 0, 0), IGNORE_INDEX))

LICENCE = (
    "ISPRS benchmark terms: given on request, for research, not to be passed on; ask ISPRS before "
    "any other use: ISPRS 2D Semantic Labeling benchmark, Potsdam, ISPRS WG II/4"
)

MISLABELLED = "4_12"
VAL_TILES = ("2_12", "3_12", "5_12", "6_12", "7_12")
TRAIN_TILES = (
    *("2_10", "2_11", "3_10", "3_11", "4_10", "4_11", "5_10", "5_11"),
    *("6_7", "6_8", "6_9", "6_10", "6_11", "7_7", "7_8", "7_9", "7_10", "7_11"),
)
TEST_TILES = (
    *("2_13", "2_14", "3_13", "3_14", "4_13", "4_14", "4_15"),
    *("5_13", "5_14", "5_15", "6_13", "6_14", "6_15", "7_13"),
)
BENCHMARK_TRAIN = tuple(sorted((*TRAIN_TILES, *VAL_TILES, MISLABELLED)))
"""The 24 tiles whose labels were given to participants."""
