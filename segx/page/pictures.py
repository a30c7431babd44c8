"""Section: what was seen, what was mapped, and where maps differ."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runtime.output.kinds import NODATA
from runtime.output.values import CONFIDENCE_SCALE

from .document import Column, Section, data_table, swatch
from .imagery import MapView, View
from .markup import Html, joined, tag
from .png import data_uri

EMPTY = (128, 128, 128)
"""Colour of pixels without data."""
DIFFERENT = (194, 24, 91)


def pictures_section(view: View, maps: Sequence[MapView], *, about: str) -> Section:
    """Show the inputs of a scene, every map of it, and where maps differ from the first.

    Args:
        view: What is known of the scene without a model.
        maps: Maps of it, the reference first; at least one.
        about: What the scene is, in a sentence.
    """
    crop = view.crop
    groups = {
        "What is seen": _inputs(view, maps[0]),
        "What is mapped": [
            _picture(_painted(item.classes, item, crop.step), "Map", item.label) for item in maps
        ],
        "How sure the model is": [
            _confidence(item.label, item.confidence, crop.step)
            for item in maps
            if item.confidence is not None
        ],
        "Where maps disagree": [
            _difference(view, maps[0], item) for item in maps[1:] if item.names == maps[0].names
        ],
    }
    body = [
        joined((tag("h3", title), tag("div", *figures, class_="pictures")))
        for title, figures in groups.items()
        if figures
    ]
    return Section(
        name="pictures",
        title="Pictures",
        lead=f"{about} Shown are {crop.height} x {crop.width} px of its middle, "
        f"{crop.step} px as one."
        + ("" if view.satellite else f" Sentinel-2 is not shown: {view.without_satellite}."),
        body=(*body, _legend(view, maps), _shares(view, maps)),
    )


def _inputs(view: View, of: MapView) -> list[Html]:
    width_m = view.grid.resolution_m * view.crop.width
    words = f"red, green, blue; {width_m:.0f} m wide"
    figures = [_picture(view.aerial, "Aerial image", words)]
    year = view.satellite
    if year is not None:
        figures.append(_picture(year.pixels, "Sentinel-2", year.text, coarse=True))
    if view.labels is not None:
        figures.append(_picture(_painted(view.labels, of, view.crop.step), "Labels", "as stored"))
    return figures


def _picture(pixels: NDArray[np.uint8], title: str, words: str, *, coarse: bool = False) -> Html:
    height, width = pixels.shape[:2]
    image = tag(
        "img",
        src=data_uri(pixels),
        alt=f"{title}: {words}",
        width=width,
        height=height,
        class_="coarse" if coarse else None,
    )
    return tag("figure", image, tag("figcaption", tag("strong", title), f": {words}"))


def _painted(classes: NDArray[np.uint8], of: MapView, step: int) -> NDArray[np.uint8]:
    """Paint class indices in their colours, one pixel out of each square."""
    palette = np.full((256, 3), EMPTY, dtype=np.uint8)
    palette[: len(of.colors)] = of.colors
    painted: NDArray[np.uint8] = palette[_sampled(classes, step)]
    return painted


def _sampled(values: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    return values[step // 2 :: step, step // 2 :: step]


def _confidence(label: str, values: NDArray[np.uint8], step: int) -> Html:
    known = values[values != NODATA]
    mean = float(known.mean()) / CONFIDENCE_SCALE if known.size else 0.0
    shown = _sampled(values, step)[:, :, None]
    words = f"{label}; white is sure, {mean:.0%} on average"
    return _picture(np.where(shown == NODATA, 0, shown), "Confidence", words)


def _difference(view: View, first: MapView, other: MapView) -> Html:
    """Mark pixels of another class over a pale aerial image."""
    step = view.crop.step
    known = (first.classes != NODATA) & (other.classes != NODATA)
    differs = known & (first.classes != other.classes)
    share = float(differs.sum() / max(int(known.sum()), 1))
    grey = view.aerial.mean(axis=2)
    pale = np.repeat((150 + 0.4 * grey).astype(np.uint8)[:, :, None], 3, axis=2)
    # A square counts where any pixel of it differs, so that small spots can be seen.
    rows, cols = (side // step for side in differs.shape)
    blocks = differs[: rows * step, : cols * step].reshape(rows, step, cols, step).any(axis=(1, 3))
    pale[:rows, :cols][blocks] = DIFFERENT
    words = (
        f"{other.label} against {first.label}: another class on {share:.2%} of the pixels; "
        "every spot is drawn, however small"
    )
    return _picture(pale, "Disagreement", words)


def _legend(view: View, maps: Sequence[MapView]) -> Html:
    """Name the colours of all classes that are shown, in the order of the classes."""
    shown: dict[tuple[str, tuple[int, int, int]], bool] = {}
    for item in maps:
        there = set(np.unique(item.classes).tolist())
        if view.labels is not None:
            there |= set(np.unique(view.labels).tolist())
        for index, key in enumerate(zip(item.names, item.colors, strict=True)):
            shown[key] = shown.get(key, False) or index in there
    items = [
        tag("li", swatch("#{:02x}{:02x}{:02x}".format(*color), name))
        for (name, color), seen in shown.items()
        if seen
    ]
    return tag("ul", *items, class_="legend", aria_label="Colours of the classes")


def _shares(view: View, maps: Sequence[MapView]) -> Html:
    """Tell the same in numbers: share of every class in every map of one set of classes."""
    first = maps[0]
    columns, found = [Column(title="class")], []
    if view.labels is not None:
        columns.append(Column(title="labels, %", number=True))
        found.append(_class_shares(view.labels, len(first.names)))
    for item in (item for item in maps if item.names == first.names):
        columns.append(Column(title=f"{item.label}, %", number=True))
        found.append(_class_shares(item.classes, len(first.names)))
    rows = [
        (name, *(f"{shares[k]:.1f}" for shares in found))
        for k, name in enumerate(first.names)
        if any(shares[k] for shares in found)
    ]
    return data_table("Share of every class in what is shown", columns, rows)


def _class_shares(classes: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """Per cent of the pixels with data, shape (K,)."""
    found = np.bincount(classes.ravel(), minlength=256)[:count].astype(np.float64)
    shares: NDArray[np.float64] = 100 * found / max(found.sum(), 1.0)
    return shares
