from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ConfigError
from runtime.stream.memory import MIB, STRIP_TILES, Workload, plan_memory

WORK = Workload(
    tile_size=512,
    halo=64,
    stride=384,
    tile_cols=105,
    channels=5,
    block_height=512,
    block_rows=512,
    map_bands=2,
    result_bytes=2 * 512**2,
    satellite_bytes=12 * 10 * 40 * 40 * 4,
)
HELD = 300 * MIB


def test_wide_rasters_take_no_more_than_those_of_one_strip() -> None:
    wide = plan_memory(WORK, held=HELD, limit=None)
    narrow = plan_memory(replace(WORK, tile_cols=STRIP_TILES), held=HELD, limit=None)
    assert wide == narrow
    assert wide.total_mib < 1000


@given(limit=st.integers(500, 4000), blended=st.sampled_from([0, 19]), bands=st.integers(1, 21))
def test_a_limit_is_kept_or_refused(limit: int, blended: int, bands: int) -> None:
    work = replace(WORK, blended_channels=blended, map_bands=bands)
    narrowest = plan_memory(replace(work, tile_cols=1), held=HELD, limit=None).total_mib
    if narrowest > limit:
        with pytest.raises(ConfigError, match=f"needs {int(narrowest) + 1} MiB"):
            plan_memory(work, held=HELD, limit=limit * MIB)
    else:
        plan = plan_memory(work, held=HELD, limit=limit * MIB)
        assert plan.total_mib <= limit
        assert 1 <= plan.strip_tiles <= STRIP_TILES


@pytest.mark.parametrize("field", ["channels", "map_bands", "blended_channels", "halo", "batch"])
def test_whatever_grows_is_counted(field: str) -> None:
    more = replace(WORK, **{field: getattr(WORK, field) + 3})
    assert (
        plan_memory(more, held=0, limit=None).total_mib
        > plan_memory(WORK, held=0, limit=None).total_mib
    )
