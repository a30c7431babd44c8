"""Measure a model under the settings of `runtime.robustness`, and print them as one table."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .console import chosen, progress, table

if TYPE_CHECKING:
    from runtime.augmented import TestTime
    from runtime.evaluate import Evaluation
    from runtime.products import OffsetOption
    from runtime.robustness import Setting

    from .models import AnyModel


def asked_settings(
    dates: str | None, shift: str | None, bands: str | None
) -> "tuple[Setting, ...]":
    """Read the lists of the command line; empty where none was given.

    Raises:
        typer.BadParameter: If one holds something that is no number.
    """
    from runtime.robustness import settings

    if dates is shift is bands is None:
        return ()
    return settings(
        [int(_number("--dates", text, whole=True)) for text in _items(dates)],
        [_number("--shift-satellite", text) for text in _items(shift)],
        _items(bands),
    )


def _items(text: str | None) -> list[str]:
    """Split a list, each item once."""
    return list(dict.fromkeys(item.strip() for item in (text or "").split(",") if item.strip()))


def _number(option: str, text: str, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{option} holds {text!r}; expected numbers with commas between them"
        ) from error
    return value


def measure_settings(
    measured: "AnyModel",
    data: Path,
    split: str,
    patches: int | None,
    tta: "TestTime",
    settings: "tuple[Setting, ...]",
    satellite_offset: "OffsetOption",
) -> "dict[str, Evaluation]":
    """Measure a model under every setting, on the same patches; a scene is cut into patches."""
    from runtime.augmented import augmented
    from runtime.dataset import open_dataset
    from runtime.datasets.scene_dataset import SPLIT
    from runtime.evaluate import evaluate
    from runtime.robustness import Perturbed, changed_card, check_settings
    from runtime.scene import SCENE_LABELS

    card = measured.card
    check_settings(settings, card)
    dataset = open_dataset(data, tile=card.aerial.tile_size, satellite_offset=satellite_offset)
    split = SPLIT if (data / SCENE_LABELS).is_file() else split
    chosen("settings", ", ".join(setting.name for setting in settings))
    results = {}
    for setting in settings:
        model = Perturbed(augmented(measured.model, tta), card, setting, measured.blank)
        with progress(setting.name) as advance:
            results[setting.name] = evaluate(
                model,
                changed_card(card, setting),
                dataset,
                split,
                limit=patches,
                on_patch=advance,
            )
    return results


def print_settings(results: "dict[str, Evaluation]", split: str) -> None:
    """Print mIoU and accuracy of every setting, and what is lost against the first one."""
    first = next(iter(results.values()))
    rows = []
    for name, evaluation in results.items():
        scores = evaluation.scores
        change = scores.miou - first.scores.miou
        rows.append(
            [
                name,
                100 * scores.miou,
                None if evaluation is first or math.isnan(change) else 100 * change,
                100 * scores.accuracy,
            ]
        )
    table(
        ["setting", "mIoU %", "change", "pixel accuracy %"],
        rows,
        title=f"{split}: {first.patches} patch(es), {first.scores.scored_classes} classes",
    )
