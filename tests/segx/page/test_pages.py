"""Pages are whole, stand alone, and can be read without seeing them."""

import json
import re
import shutil
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from bench_case import bench_result
from page_case import HOSTILE, IOU, put_files
from page_reader import PageReader, read_page

from runtime.bundle import open_bundle
from runtime.errors import BundleError, DataError
from segx.page.bundle_files import read_bundle_files
from segx.page.compose import export_page
from segx.page.evaluated import read_eval
from segx.page.timed import name_all
from segx.page.tradeoff import tradeoff_section

SECTIONS = {
    "bench": (
        *("tradeoff", "latency", "stages", "pictures"),
        *("classes", "parity", "calibration", "machine"),
    ),
    "export": ("bundle", "classes", "parity", "calibration"),
    "infer": ("pictures", "run", "stages", "bundle", "classes", "parity", "calibration"),
}
DRAWINGS = {
    "bench": {
        *("tradeoff-chart", "latency-calls", "stages-0", "stages-1", "classes-0", "classes-1"),
        *("parity-0", "parity-1", "calibration-0", "calibration-1"),
    },
    "export": {"classes-0", "parity-0", "calibration-0"},
    "infer": {"stages-0", "classes-0", "parity-0", "calibration-0"},
}
PICTURES = {
    "bench": ["Aerial", "Sentinel-2", "Labels", "Map", "Map", *["Confidence"] * 2, "Disagreement"],
    "export": [],
    "infer": ["Aerial", "Sentinel-2", "Labels", "Map"],
}


@pytest.fixture(scope="module", params=list(SECTIONS))
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def page(kind: str, pages: dict[str, Path]) -> PageReader:
    return read_page(pages[kind].read_text(encoding="utf-8"))


def test_a_page_has_its_sections_in_order(kind: str, page: PageReader) -> None:
    found = [section.attributes["id"] for section in page.all("section")]
    assert tuple(found) == SECTIONS[kind]
    links = [link.attributes["href"] for link in page.all("a") if "nav" in link.parents]
    assert links == [f"#{name}" for name in found]


def test_every_drawing_is_there_and_says_what_it_shows(kind: str, page: PageReader) -> None:
    ids = {e.attributes["id"]: e for e in page.elements if "id" in e.attributes}
    drawings = set()
    for drawing in page.all("svg"):
        name = drawing.attributes["aria-labelledby"]
        assert drawing.attributes["role"] == "img"
        assert (ids[name].name, ids[drawing.attributes["aria-describedby"]].name) == (
            "title",
            "desc",
        )
        assert ids[name].text.strip()
        assert len(ids[drawing.attributes["aria-describedby"]].text) > 20
        drawings.add(name.removesuffix("-name"))
    assert drawings == DRAWINGS[kind]


def test_every_picture_is_there_and_says_what_it_shows(kind: str, page: PageReader) -> None:
    found = [image.attributes["alt"] for image in page.all("img")]
    assert [words.split()[0].strip(":") for words in found] == PICTURES[kind]
    assert all(len(words) > 15 for words in found)
    assert len(page.all("figure")) == len(page.all("img", "svg")) == len(page.all("figcaption"))


def test_no_two_elements_have_one_id(page: PageReader) -> None:
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        for key in ("aria-labelledby", "aria-describedby"):
            assert element.attributes.get(key, ids[0]) in ids


def test_nothing_is_fetched_and_nothing_runs(kind: str, pages: dict[str, Path]) -> None:
    page = read_page(pages[kind].read_text(encoding="utf-8"))
    assert not page.all("script", "link", "iframe", "object", "embed", "use", "image", "base")
    for element in page.elements:
        for key, value in element.attributes.items():
            assert not key.startswith("on")
            if key in ("src", "href", "xlink:href", "action"):
                assert value.startswith(("#", "data:image/png;base64,")), value
            if key in ("style", "fill"):
                assert re.fullmatch(
                    r"(background:#[0-9a-f]{6}|--share:[\d.]+|url\(#[\w-]+\))", value
                )
    (style,) = page.all("style")
    assert not re.search(r"url\(|@import|expression", style.text)
    policy = [m.attributes["content"] for m in page.all("meta") if "http-equiv" in m.attributes]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_landmarks_headings_and_tables_are_marked(page: PageReader) -> None:
    (html,) = page.all("html")
    assert html.attributes["lang"] == "en"
    for name in ("header", "nav", "main", "footer", "h1", "title"):
        assert len([e for e in page.all(name) if "svg" not in e.parents]) == 1, name
    levels = [int(element.name[1]) for element in page.all("h1", "h2", "h3")]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.all("table")
    captions = [element.text for element in page.all("caption")]
    assert len(captions) == len(page.all("table"))
    for cell in page.all("th"):
        assert cell.attributes["scope"] == ("col" if "thead" in cell.parents else "row")
    regions = [e for e in page.elements if e.attributes.get("class") == "scroll"]
    assert all(e.attributes["tabindex"] == "0" and e.attributes["aria-label"] for e in regions)


def test_names_of_bundles_and_classes_are_text(kind: str, page: PageReader) -> None:
    shown = [element.text for element in page.elements]
    assert any(HOSTILE in words for words in shown)
    cells = {cell.text for cell in page.all("th")}
    assert set(IOU) <= cells
    assert "</title><script>" in "".join(shown)


def test_every_value_of_a_drawing_is_in_a_table(kind: str, page: PageReader) -> None:
    cells = {cell.text for cell in page.all("td")}
    assert {f"{100 * iou:.2f}" for iou in IOU.values()} <= cells
    assert {"30.00", "20.00", "10.00", "0.00"} <= cells  # calibration
    assert "-1.00" in cells


def test_what_failed_is_said_in_words(page: PageReader) -> None:
    marked = [e for e in page.elements if e.attributes.get("class") == "no"]
    assert {e.text for e in marked} == {"no", "cosine 0.5"}
    assert any("out of <i>budget</i>" in e.text for e in page.all("p"))
    assert any("without water" in e.text for e in page.all("figcaption"))


def test_results_of_segx_eval_are_shown_as_a_matrix(pages: dict[str, Path]) -> None:
    page = read_page(pages["bench"].read_text(encoding="utf-8"))
    titles = [element.text for element in page.all("h3")]
    assert "Confusion: m, val (4 patches)" in titles
    matrices = [e.text for e in page.all("table") if e.attributes.get("class") == "matrix"]
    assert len(matrices) == 3  # and one of each bundle, on the scene
    assert "7525" in matrices[0].replace(" ", "")


def test_a_bundle_without_measurements_has_a_page_too(tiny_bundle: Path) -> None:
    page = read_page(export_page(open_bundle(tiny_bundle)))
    assert [section.attributes["id"] for section in page.all("section")] == ["bundle"]


@pytest.mark.parametrize("name", ["gate.json", "parity.json", "calibration.json"])
def test_a_file_of_another_kind_is_refused(
    name: str, tiny_bundle: Path, tmp_path: Path, told_bundle: Callable[..., Path]
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "a.segx"))
    with pytest.raises(BundleError, match=f"{name} lacks the key"):
        read_bundle_files(open_bundle(put_files(folder, {name: {}})))
    put_files(folder, {name: {}})
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    found = read_bundle_files(open_bundle(folder))
    assert (found.gate, found.parity, found.calibration) == (None, None, None)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read as JSON"),
        ([], "expected a table of keys"),
        ({"model": "m", "results": {"val": {"patches": 1, "matrix": []}}}, "lacks the key"),
    ],
)
def test_a_file_that_is_not_of_segx_eval_is_refused(
    content: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "eval.json"
    if content is not None:
        path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_eval(path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "1e300", "9" * 400, "9" * 5000])
def test_a_number_that_is_no_measurement_is_refused(
    number: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "a.segx"))
    selection: dict[str, Any] = {
        "dataset": "d",
        "split": "s",
        "ids": [],
        "coverage": None,
        "more": "#",
    }
    put_files(folder, {"calibration.json": {"selection": selection}}, put=('"#"', number))
    with pytest.raises(BundleError, match=r"calibration\.json cannot be read as JSON"):
        read_bundle_files(open_bundle(folder))


@pytest.mark.parametrize("miou", [1e300, -1.0])
def test_an_accuracy_that_is_none_is_not_drawn(
    miou: float, told_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    folder = told_bundle(tmp_path / "a.segx")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["accuracy"] |= {"miou": miou, "iou": {"water": miou}}
    del manifest["files"]["gate.json"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    bundle = open_bundle(folder)
    page = read_page(export_page(bundle))
    assert "classes" not in [section.attributes["id"] for section in page.all("section")]
    timed = name_all([(bundle, bench_result(accuracy=bundle.manifest.accuracy))])
    drawn = tradeoff_section(timed).body[0]
    assert "none is drawn" in drawn


def test_a_matrix_of_another_size_is_refused(tmp_path: Path) -> None:
    scores = {"miou": 0.5, "classes": [{"name": "a"}, {"name": "b"}]}
    result = {"scores": scores, "matrix": [[1, 2, 3], [1, 2, 3]], "patches": 1}
    path = tmp_path / "eval.json"
    path.write_text(json.dumps({"model": "m", "results": {"val": result}}))
    with pytest.raises(DataError, match="not one of 2 classes"):
        read_eval(path)
    result["matrix"] = [[1, 2], [-3, 4]]
    path.write_text(json.dumps({"model": "m", "results": {"val": result}}))
    with pytest.raises(DataError, match="counts below 0"):
        read_eval(path)
