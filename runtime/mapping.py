"""Map files with a bundle: the steps that the command, Python and workers of a cluster share.

survey    find the input, check it against the model, join it into mosaics, cut it into tiles
run       map all of it, or one shard, with the opened model; count time and energy
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .card import ModelCard
from .energy import EnergyMeter
from .errors import ConfigError
from .ladder import Opened
from .pipeline import OnTile, ShardResult, map_shard, map_survey
from .report import Clock
from .scene import Scene, find_scenes
from .stream.afterwards import AfterMap
from .stream.options import InferOptions
from .stream.shards import Shard
from .stream.survey import Survey, make_survey
from .tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class MapRequest:
    """What is to be mapped, and into what."""

    source: Path
    """A GeoTIFF, a folder of them, a scene folder or a FLAIR #2 tree."""
    satellite: Path | None
    """Folder of `S2_YYYYMMDD.tif` files; in or beside `source` if None."""
    out: Path
    """Folder for maps and report."""
    options: InferOptions
    """What to write, how the input is made to fit, and what to allow."""
    shard: Shard | None = None
    """Which share of it; all if None."""
    after: AfterMap | None = None
    """Makes something of every class map when all maps are finished."""

    def survey(self, card: ModelCard) -> Survey:
        """Find the input, and plan the tiles that a model makes of it.

        Raises:
            ConfigError: If the maps would lie among the images, or an option cannot be understood.
            DataError: If something is missing, damaged or does not fit.
            BundleError: If a toy bundle meets real imagery, or a branch may not be left out.
        """
        options = self.options
        scenes = find_scenes(
            self.source,
            self.satellite,
            needs_satellite=card.satellite is not None,
            may_lack=options.missing_satellite == "aerial-only",
            satellite_offset=options.satellite_offset,
            satellite_substitute=options.satellite_substitute,
            crs=options.crs,
        )
        _check_out(scenes, self.source, self.out)
        return make_survey(scenes, card, options)

    def run(
        self,
        survey: Survey,
        opened: Opened,
        clock: Clock,
        *,
        on_tile: OnTile = lambda done, total: None,
    ) -> ShardResult:
        """Map a survey of this request, or the share of it that is asked for.

        Args:
            survey: What `survey` gave.
            opened: The opened bundle; it is left open.
            clock: Made when the run began, so that opening the bundle counts to the cold start.
            on_tile: Called after every tile.

        Raises:
            SegxError: If a stage fails.
        """
        model, out, after, tally = opened.model, self.out, self.after, Tally.of(opened, clock)
        with EnergyMeter(opened.choice.device) as tally.meter:
            if self.shard is not None:
                return map_shard(
                    survey, self.shard, model, out, tally=tally, on_tile=on_tile, after=after
                )
            report = map_survey(survey, model, out, tally=tally, on_tile=on_tile, after=after)
            return ShardResult(report=report, left=0)


def _check_out(scenes: Sequence[Scene], source: Path, out: Path) -> None:
    """Refuse to write maps where the next run would take them for images."""
    if len(scenes) > 1 or scenes[0].alone:
        folders = {source, *(scene.aerial.parent for scene in scenes)}
        above = {out.resolve(), *out.resolve().parents}
        if source.is_dir() and above & {folder.resolve() for folder in folders}:
            raise ConfigError(
                f"--out {out} lies in {source}, whose images are mapped; expected a folder outside "
                "it, since maps are images too; choose another --out"
            )
