"""`segx eval`: measure a checkpoint or bundle against labels."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..options import (
    BackendFlag,
    BackendName,
    CudaFlag,
    EnginesFlag,
    FactoryFlag,
    OffsetFlag,
    RebuildFlag,
    RunFlags,
    SkipSelfTestFlag,
    TrustFlag,
    TtaFlag,
    TtaName,
)

if TYPE_CHECKING:
    from runtime.augmented import TestTime
    from runtime.evaluate import Evaluation
    from runtime.manifest import Variant
    from runtime.products import OffsetOption

    from ..models import AnyModel


def eval_(
    model: Path = typer.Argument(..., help="Checkpoint folder or bundle."),
    data: Path = typer.Argument(..., help="A data set of any layout, or a scene with labels.tif."),
    split: str = typer.Option("val", help="Split of a data set."),
    factory: FactoryFlag = "",
    tta: TtaFlag = TtaName.none,
    backend: BackendFlag = BackendName.auto,
    cuda: CudaFlag = None,
    rebuild: RebuildFlag = None,
    engines: EnginesFlag = None,
    trust_engines: TrustFlag = False,
    skip_self_test: SkipSelfTestFlag = False,
    satellite_offset: OffsetFlag = "auto",
    patches: int | None = typer.Option(None, min=1, help="Take this many patches at most."),
    dates: str | None = typer.Option(
        None, help="Also measure with so many valid months kept, such as 12,6,3,1,0."
    ),
    shift_satellite: str | None = typer.Option(
        None, help="Also measure with Sentinel-2 shifted so many metres east, such as 0,5,10,20."
    ),
    drop_band: str | None = typer.Option(
        None, help="Also measure without each of these bands, such as nir,B08."
    ),
    csv: Path | None = typer.Option(None, help="Write the confusion matrix to this file."),
    json: Path | None = typer.Option(None, help="Write all scores to this file."),
) -> None:
    """Measure IoU, F1, precision and recall per class, mIoU and accuracy.

    Example: segx eval bundles/lf-dlm-tiny-fp32.segx flair2/ --split val --csv confusion.csv
    """
    from contextlib import closing

    from runtime.bundle import SUFFIX

    from ..console import chosen, done, say, write_json
    from ..models import open_any
    from ..robustness_table import asked_settings, measure_settings, print_settings

    settings = asked_settings(dates, shift_satellite, drop_band)
    flags = RunFlags(
        backend=backend,
        cuda=cuda,
        rebuild=rebuild,
        engines=engines,
        trust_engines=trust_engines,
        skip_self_test=skip_self_test,
    )
    ending: Variant = "classes" if tta == TtaName.none else "probabilities"
    measured = open_any(model, flags, variant=ending, factory=factory)
    chosen("model", measured.card.name, measured.origin)
    if tta != TtaName.none:
        chosen("test-time augmentation", tta.value)
    with closing(measured):
        if settings:
            results = measure_settings(
                measured, data, split, patches, tta.value, settings, satellite_offset
            )
        else:
            results = _measure(measured, data, split, patches, tta.value, satellite_offset)
    content = {
        "model": measured.card.name,
        "sha256": measured.card.sha256,
        "execution": {**measured.execution(), "tta": tta.value},
        "results": results,
    }
    if settings:
        print_settings(results, split)
    else:
        for where, evaluation in results.items():
            _print(where, evaluation)
    if csv is not None:
        _write_matrix(csv, next(iter(results.values())))
    if json is not None:
        write_json(json, content)
    then = (
        f"segx infer INPUT --bundle {model}" if model.suffix == SUFFIX else f"segx export {model}"
    )
    written = json or csv
    if written is not None:
        done(written, then)
    else:
        say(f"next: {then}")


def _measure(
    measured: "AnyModel",
    data: Path,
    split: str,
    patches: int | None,
    tta: "TestTime",
    satellite_offset: "OffsetOption",
) -> "dict[str, Evaluation]":
    from runtime.augmented import augmented
    from runtime.dataset import open_dataset
    from runtime.evaluate import evaluate
    from runtime.scene import SCENE_LABELS

    from ..console import progress

    if (data / SCENE_LABELS).is_file():
        return _scene(measured, data, tta, satellite_offset)
    tile = measured.card.aerial.tile_size
    dataset = open_dataset(data, tile=tile, satellite_offset=satellite_offset)
    with progress("patches") as advance:
        result = evaluate(
            augmented(measured.model, tta),
            measured.card,
            dataset,
            split,
            limit=patches,
            on_patch=advance,
        )
    return {split: result}


def _scene(
    measured: "AnyModel", scene: Path, tta: "TestTime", satellite_offset: "OffsetOption"
) -> "dict[str, Evaluation]":
    import tempfile

    from runtime.evaluate import evaluate_map
    from runtime.pipeline import map_survey
    from runtime.scene import SCENE_LABELS, find_scenes
    from runtime.stream.options import InferOptions
    from runtime.stream.survey import make_survey

    from ..console import progress

    card = measured.card
    scenes = find_scenes(
        scene,
        None,
        needs_satellite=card.satellite is not None,
        satellite_offset=satellite_offset,
    )
    with tempfile.TemporaryDirectory(prefix="segx-eval-") as out, progress("tiles") as advance:
        survey = make_survey(scenes, card, InferOptions(allow_toy=True, tta=tta))
        report = map_survey(
            survey, measured.model, Path(out), tally=measured.tally(), on_tile=advance
        )
        plan = survey.areas[0].plan
        result = evaluate_map(Path(report.outputs[0]), scene / SCENE_LABELS, card, plan)
    results = {"scene": result.whole}
    if result.seams is not None:
        results["along tile seams"] = result.seams
    return results


def _print(where: str, evaluation: "Evaluation") -> None:
    from ..console import say, table

    scores = evaluation.scores
    table(
        ["class", "share %", "IoU %", "F1 %", "precision %", "recall %", "scored"],
        [
            [
                c.name,
                100 * c.share,
                100 * c.iou,
                100 * c.f1,
                100 * c.precision,
                100 * c.recall,
                "yes" if c.scored else "no",
            ]
            for c in scores.classes
        ],
        title=f"{where}: {evaluation.patches} patch(es), {scores.pixels} labelled pixels",
    )
    say(
        f"mIoU {100 * scores.miou:.2f} % over {scores.scored_classes} classes, "
        f"pixel accuracy {100 * scores.accuracy:.2f} %"
    )


def _write_matrix(path: Path, evaluation: "Evaluation") -> None:
    import csv
    import io

    from runtime.files import write_text

    names = [c.name for c in evaluation.scores.classes]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["label \\ prediction", *names])
    for name, row in zip(names, evaluation.matrix.tolist(), strict=True):
        writer.writerow([name, *row])
    write_text(path, text.getvalue())
