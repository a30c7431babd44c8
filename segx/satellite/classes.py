"""Cloud and snow probability from the scene classification of Level-2A (SCL).

| SCL | meaning | cloud | snow |
|---|---|---|---|
| 0 | no data | 0 | 0 |
| 1 | saturated or defective | 0 | 0 |
| 2 | dark area, shadow of terrain | 0 | 0 |
| 3 | shadow of a cloud | 0 | 0 |
| 4, 5, 6 | vegetation, bare ground, water | 0 | 0 |
| 7 | unclassified, or cloud of low probability | 20 | 0 |
| 8 | cloud of medium probability | 60 | 0 |
| 9 | cloud of high probability | 100 | 0 |
| 10 | thin cirrus | 60 | 0 |
| 11 | snow or ice | 0 | 100 |

Shadows of clouds count as clear, as they do in the probabilities that products bring.

Reference: Sentinel-2 Level-2A Algorithm Theoretical Basis Document, scene classification.
"""

import numpy as np
from numpy.typing import NDArray

CLOUD_OF_CLASS = np.zeros(256, dtype=np.uint8)
CLOUD_OF_CLASS[[7, 8, 9, 10]] = (20, 60, 100, 60)
SNOW_OF_CLASS = np.zeros(256, dtype=np.uint8)
SNOW_OF_CLASS[11] = 100


def cover_of_classes(classes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Turn scene classes into probabilities of snow and cloud, 0 to 100, of the same shape."""
    return SNOW_OF_CLASS[classes], CLOUD_OF_CLASS[classes]
