"""Map a scene once, for pictures: not timed, and with the confidence."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.bundle import Bundle
from runtime.card import ModelCard
from runtime.evaluate import evaluate_map
from runtime.ladder import Opened
from runtime.pipeline import map_survey
from runtime.scene import Scene, find_scenes
from runtime.stream.options import InferOptions
from runtime.stream.survey import Survey, make_survey
from runtime.tally import Tally

from .classes import Confusion
from .document import Section
from .imagery import labels_of, map_path, read_map, read_view
from .pictures import pictures_section

Advance = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One bundle's map of the first aerial image of a scene."""

    label: str
    scene: Scene
    survey: Survey
    folder: Path
    """Where the maps lie."""
    confusion: Confusion | None
    """None where the scene has no labels of the model's classes."""


def map_once(
    bundle: Bundle, opened: Opened, source: Path, folder: Path, *, label: str, advance: Advance
) -> Trial:
    """Map the first aerial image of a scene.

    Args:
        bundle: The bundle.
        opened: The same, opened for one tile or more; it is left open.
        source: The scene.
        folder: Where the maps go.
        label: Names the map.
        advance: Told of the tiles done.

    Raises:
        SegxError: If the scene does not fit.
    """
    card = bundle.card
    scenes = find_scenes(source, None, needs_satellite=card.satellite is not None)[:1]
    survey = make_survey(scenes, card, InferOptions(confidence=True, allow_toy=True))
    map_survey(survey, opened.model, folder, tally=Tally.of(opened), on_tile=advance)
    scene = scenes[0]
    confusion = _confusion(label, scene, card, survey, folder)
    return Trial(label=label, scene=scene, survey=survey, folder=folder, confusion=confusion)


def _confusion(
    label: str, scene: Scene, card: ModelCard, survey: Survey, folder: Path
) -> Confusion | None:
    labels = labels_of(scene, card)
    if labels is None:
        return None
    found = evaluate_map(map_path(scene, card, folder), labels, card, survey.areas[0].plan).whole
    return Confusion(
        label=f"{label} on the scene of the pictures",
        names=tuple(item.name for item in card.classes),
        counts=found.matrix,
        miou=found.scores.miou if found.scores.scored_classes else None,
    )


def show_trials(trials: Sequence[Trial], *, about: str) -> Section:
    """Show the maps of a scene; that of the first bundle in FP32 is the reference.

    Args:
        trials: Maps of one scene; at least one.
        about: What the scene is, in a sentence.
    """
    first = trials[0]
    view = read_view(first.scene, first.survey.card, first.survey.areas[0].bands)
    maps = [
        read_map(item.label, item.scene, item.survey.card, item.folder, view.crop)
        for item in trials
    ]
    return pictures_section(view, maps, about=about)


def show_run(survey: Survey, folder: Path, *, label: str) -> Section | None:
    """Show the first map that a run wrote; None where it wrote none, as some of several runs do.

    Args:
        survey: What was mapped.
        folder: Where the maps lie.
        label: Names the map.
    """
    for area in survey.areas:
        for file in area.mosaic.files:
            satellite = area.mosaic.satellite
            scene = Scene(aerial=file.path, satellite=satellite, assume_crs=file.assume_crs)
            if map_path(scene, survey.card, folder).is_file():
                view = read_view(scene, survey.card, area.bands)
                shown = read_map(label, scene, survey.card, folder, view.crop)
                about = f"Map of {file.path.name}, one of {len(survey.files)}."
                return pictures_section(view, [shown], about=about)
    return None
