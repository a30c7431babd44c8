"""`segx infer --shard`: workers of a cluster that know nothing of each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from runtime.pipeline import ShardResult

Run = Callable[..., Any]


def read(path: Path) -> Any:
    with rasterio.open(path) as dataset:
        return dataset.read()


def test_shards_in_any_order_make_the_map_of_one_process(
    infer: Run,
    no_gpu: None,
    transcript: Callable[[str, str], None],
    tmp_path: Path,
) -> None:
    assert infer("--out", "one", "--confidence").code == 0
    shown = []
    for text in ("2/2", "1/2", "1/2"):
        result = infer("--out", "maps", "--confidence", "--shard", text)
        assert (result.code, result.complaints) == (0, [])
        shown.append(result.out)
    transcript("infer-shard", "\n".join(shown))
    for name in ("aerial_landcover.tif", "aerial_confidence.tif"):
        np.testing.assert_array_equal(read(tmp_path / "maps" / name), read(tmp_path / "one" / name))
    assert not list((tmp_path / "maps").glob(".segx-run*"))


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (("--shard", "3/2"), 1, "expected I/N"),
        (("--shard", "first"), 1, "expected I/N, such as 1/8"),
        (("--shards", "4"), 2, "is for --ray"),
        (("--shard", "1/2", "--dry-run"), 2, "does not go with --dry-run"),
        (("--shard", "1/2", "--html", "page.html"), 2, "does not go with --html"),
        (("--shard", "1/2", "--ray", "local"), 2, "does not go with --ray"),
    ],
)
def test_what_is_no_share_is_refused(
    options: tuple[str, ...], code: int, text: str, infer: Run
) -> None:
    result = infer(*options)
    assert result.code == code
    assert text in " ".join(result.err.split())


def test_on_ray_it_is_said_that_all_was_complete_before(
    infer: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def run_all(job: Any, *given: Any) -> ShardResult:
        asked.append(job)
        return ShardResult(report=None, left=0)

    monkeypatch.setattr("segx.shards.run_all", run_all)
    result = infer("--out", "maps", "--ray", "local")
    assert (result.code, result.complaints) == (0, [])
    assert "those of all shards were so before; nothing to do" in " ".join(result.out.split())
    (job,) = asked
    assert (job.wanted.source, job.wanted.out) == (tmp_path / "scene", tmp_path / "maps")


def test_without_ray_its_extra_is_named(infer: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("segx.extras.find_spec", lambda name: None)
    result = infer("--ray", "local")
    assert result.code == 1
    assert "segx infer --ray needs the extra 'ray'" in " ".join(result.err.split())
