"""Draw the candidates of a calibration set from a pool that is too big to be read as a whole."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.datasets.splits import share_out


def draw(
    pool: Sequence[str], groups: dict[str, str], most: int, rng: np.random.Generator
) -> list[str]:
    """Draw candidates of every area.

    Args:
        pool: Ids of patches.
        groups: Area of each patch by id.
        most: Candidates at most.
        rng: Decides which.

    Returns:
        Ids in order of name.
    """
    if len(pool) <= most:
        return sorted(pool)
    members: dict[str, list[str]] = {}
    for patch_id in sorted(pool):
        members.setdefault(groups[patch_id], []).append(patch_id)
    quotas = quotas_of(np.array([len(ids) for ids in members.values()]), most, rng)
    drawn: list[str] = []
    for ids, quota in zip(members.values(), quotas, strict=True):
        drawn += [ids[i] for i in rng.permutation(len(ids))[:quota]]
    return sorted(drawn)


def quotas_of(sizes: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Share out candidates in proportion to the areas' sizes, largest remainder first.

    Areas that would get none, rarest first, get one of those of the area that has most, as long as
    that one keeps some.

    Args:
        sizes: Patches by area, shape (areas,).
        most: Candidates in all, fewer than patches.
        rng: Decides between areas of the same remainder.

    Returns:
        Candidates by area, shape (areas,).
    """
    quotas = share_out(sizes, most, rng)
    for area in np.argsort(sizes, kind="stable"):
        richest = quotas.argmax()
        if quotas[area] == 0 and quotas[richest] > 1:
            quotas[richest] -= 1
            quotas[area] = 1
    return quotas
