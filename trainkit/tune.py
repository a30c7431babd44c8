"""Set training patches aside, to choose weights and to stop early: the *tune* patches.

Neighbouring patches look alike, so that each area gives one block at its border rather than patches
here and there:

    +---+---+---+---+
    |   |   |   | t |
    +---+---+---+---+      t: set aside, furthest along a direction drawn with the seed
    |   |   | t | t |
    +---+---+---+---+
"""

from collections.abc import Sequence

import numpy as np

from runtime.dataset import Dataset
from runtime.datasets.splits import share_out
from runtime.errors import DataError


def choose_tune(
    dataset: Dataset, ids: Sequence[str], *, share: float, seed: int
) -> tuple[str, ...]:
    """Choose the patches to set aside; at least one, never all.

    Args:
        dataset: Knows the area and place of each patch.
        ids: Patches of the training split.
        share: Share of the patches to set aside, 0 to 1.
        seed: The same seed gives the same patches.

    Returns:
        Ids in order of name.

    Raises:
        DataError: If there are fewer than two patches.
    """
    if len(ids) < 2:
        raise DataError(
            f"{dataset.root} has {len(ids)} training patch(es); expected at least 2, one of which "
            "is set aside to choose weights; add patches to the training split"
        )
    rng = np.random.default_rng(seed)
    areas: dict[str, list[str]] = {}
    groups = dataset.groups()
    for patch_id in sorted(ids):
        areas.setdefault(groups[patch_id], []).append(patch_id)
    chosen: list[str] = []
    sizes = [len(members) for members in areas.values()]
    for members, count in zip(areas.values(), quotas(sizes, share, rng), strict=True):
        chosen += _block(dataset, members, count, rng)
    return tuple(sorted(chosen))


def quotas(sizes: Sequence[int], share: float, rng: np.random.Generator) -> list[int]:
    """Share out the number of patches to set aside among areas, largest remainder first."""
    total = min(max(1, round(share * sum(sizes))), sum(sizes) - 1)
    return [int(count) for count in share_out(np.array(sizes), total, rng)]


def _block(
    dataset: Dataset, members: Sequence[str], count: int, rng: np.random.Generator
) -> list[str]:
    """Patches of one area that lie furthest in a direction."""
    angle = rng.uniform(0.0, 2.0 * np.pi)
    if count == 0:
        return []
    places = np.array([dataset.position(patch_id) for patch_id in members])
    reach = (places - places.mean(axis=0)) @ np.array([np.cos(angle), np.sin(angle)])
    return [members[index] for index in np.argsort(-reach, kind="stable")[:count]]
