"""What is said of a run before it starts, and after."""

from ..aerial.acquired import acquired, date_gap_days
from ..aerial.elevation import CACHE_BYTES, ZERO
from ..aerial.resample import resample_bytes
from ..aerial.source import scaling_bytes
from ..report import MemoryUse, PlanSummary, Report, Seams, rss_bytes
from ..satellite import MONTHS
from ..satellite_lattice import NODES
from ..tally import Tally
from .mapset import MapSet, map_kinds
from .memory import MIB, MemoryPlan, Workload, plan_memory
from .seams import SeamCount
from .survey import Survey


def planned_memory(survey: Survey, *, batch: int) -> MemoryPlan:
    """Choose the width of strips for the memory that is allowed; see `plan_memory`.

    Args:
        survey: What is mapped.
        batch: Tiles per call of the model, which is open already: what the process holds counts.

    Raises:
        ConfigError: If the limit is too low.
    """
    card, options, plan = survey.card, survey.options, survey.areas[0].plan
    classes = len(card.classes)
    floats = options.variant == "probabilities"
    satellite = card.satellite
    cells = 0 if satellite is None else MONTHS * len(satellite.bands) * satellite.window**2
    work = Workload(
        tile_size=plan.size,
        halo=plan.halo,
        stride=plan.stride,
        tile_cols=max(area.plan.tile_cols for area in survey.areas),
        channels=len(card.aerial.bands),
        block_height=max(area.mosaic.block_rows for area in survey.areas),
        block_rows=max(area.block_rows for area in survey.areas),
        # The quality is held in any case, and to compare tiles one class of each pixel.
        map_bands=sum(len(kind.bands) for kind in map_kinds(card, options).values())
        + (1 + options.disagreement),
        result_bytes=plan.size**2 * (4 * classes if floats else 2),
        satellite_bytes=4 * cells,
        blended_channels=classes if options.blend else 0,
        batch=batch,
        fitting_bytes=_fitting_bytes(survey),
        averaging_bytes=_averaging_bytes(survey, batch),
        nodes_bytes=_nodes_bytes(survey),
    )
    return plan_memory(work, held=rss_bytes(), limit=options.max_memory)


def _recompute(survey: Survey, tally: Tally) -> float:
    """Pixels that the model has run over pixels that were mapped by it."""
    grid = survey.areas[0].tile_grid
    mapped = (tally.pixels - tally.pixels_before) / (grid.row_scale * grid.col_scale)
    run = tally.tiles * survey.options.runs_per_tile * survey.areas[0].plan.size ** 2
    return run / max(mapped, 1)


def _fitting_bytes(survey: Survey) -> int:
    """What it takes to bring the input to the model's resolution and bands."""
    resampled = any(area.tile_grid.resampled for area in survey.areas)
    heights = survey.options.elevation not in (None, ZERO)
    scaled = any(area.scaling is not None for area in survey.areas)
    channels = len(survey.card.aerial.bands)
    return (
        resampled * resample_bytes(channels)
        + heights * CACHE_BYTES
        + scaled * scaling_bytes(channels)
    )


def _nodes_bytes(survey: Survey) -> int:
    """What the logits of satellite windows on a lattice take, at a cell per pixel."""
    satellite = survey.card.satellite
    if survey.options.lattice_cells is None or satellite is None:
        return 0
    return NODES * 4 * len(survey.card.classes) * satellite.window**2


def _averaging_bytes(survey: Survey, batch: int) -> int:
    """What it takes to average a batch: a sum in float64, and what is added to it in float32."""
    if survey.options.runs_per_tile == 1:
        return 0
    return 12 * batch * len(survey.card.classes) * survey.areas[0].plan.size ** 2


def sum_up(
    survey: Survey, maps: MapSet, memory: MemoryPlan, tally: Tally, *, precision: str, batch: int
) -> Report:
    """Report what a run did, once all is written."""
    options = survey.options
    area = survey.areas[0]
    tally.plan = PlanSummary(
        tile_size=area.plan.size,
        halo=area.plan.margin,
        halo_exact=survey.card.aerial.halo_exact and area.plan.margin >= survey.card.aerial.halo,
        stride=area.plan.stride,
        lattice_px=area.lattice.step,
        strips=sum(len(item.plan.strips(memory.strip_tiles)) for item in survey.areas),
        batch=batch,
        recompute=_recompute(survey, tally),
        blend=options.blend,
        tta=options.tta,
        runs_per_tile=options.runs_per_tile,
    )
    limit = options.max_memory
    tally.memory = MemoryUse(
        limit_mib=None if limit is None else limit / MIB, planned_mib=memory.total_mib
    )
    tally.fit = survey.fit
    seams = SeamCount.total(maps.seams)
    tally.seams = Seams(share=seams.share, pixels=seams.pixels) if seams.pixels else None
    tally.policy = options.missing_satellite
    tally.date_gap_days = longest_gap(survey, tally)
    return tally.report(survey.card, precision, options.segx_version)


def longest_gap(survey: Survey, tally: Tally) -> int | None:
    """Days between an aerial file and the nearest date used for it, of the file where it is most.

    None where no date of an aerial file is known.
    """
    gaps = [
        date_gap_days(acquired(file.path, file.info), tally.dates_used(area.mosaic.satellite.name))
        for area in survey.areas
        if area.mosaic.satellite is not None
        for file in area.mosaic.files
    ]
    return max((gap for gap in gaps if gap is not None), default=None)
