"""A verdict that is missed names the part and its nodes, and nothing stays open."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import exporter.trial
from exporter.gate_report import Budgets
from exporter.trial import TrialReport
from exporter.workshop import open_converted
from runtime.jsonfile import plain, write_json
from runtime.model import TileModel

OVERFLOW = {
    "aerial": {"coarse": (8.0, 2000.0, 1 / 2000, 0.125)},
    "satellite": {"total": (1000.0, 1000.0, 0.001, 0.001)},
}

MakeBench = Callable[..., Any]


def judged(made: Any, *, planned: Any = None, **changes: Any) -> TrialReport:
    parts = made.workshop().convert(planned or made.plan())
    options = replace(made.options, **changes)
    report: TrialReport = made.trial.judge(parts, options, made.store, lambda done, total: None)
    return report


@pytest.mark.parametrize("part", ["aerial", "satellite"])
def test_a_missed_verdict_names_the_worst_nodes_of_the_part_to_blame(
    bench: MakeBench, part: str, tmp_path: Path
) -> None:
    blame = judged(bench(**{part: OVERFLOW[part]})).blame
    assert blame is not None
    assert [(item.part, item.node) for item in blame.worst[:1]] == [(part, "planted2")]
    assert len(blame.worst) <= 3
    assert f"; worst nodes of {part}: planted2 (NaN or infinite), " in blame.text
    write_json(tmp_path / "blame.json", plain(blame))
    assert "planted2" in (tmp_path / "blame.json").read_text()


def test_errors_are_told_in_per_cent_of_the_result(bench: MakeBench) -> None:
    made = bench()
    blame = judged(made, planned=made.plan("int8"), budgets=Budgets(miou_loss=-1.0)).blame
    assert blame is not None
    largest = [item.relative for item in blame.worst]
    assert len(largest) >= 2
    assert largest == sorted(largest, reverse=True)
    assert f"{blame.worst[0].node} ({100 * largest[0]:.2g} %), " in blame.text


def test_a_part_that_was_not_converted_has_no_nodes_to_name(bench: MakeBench) -> None:
    made = bench()
    planned = made.plan(aerial="fp32", satellite="fp32")
    blame = judged(made, planned=planned, budgets=Budgets(miou_loss=-1.0)).blame
    assert blame is not None
    assert {item.part for item in blame.worst} == {"fusion"}


def test_what_a_backend_computes_in_bf16_is_no_fault_of_a_node(
    bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench()
    monkeypatch.setattr(exporter.trial, "open_converted", spoiling(open_converted))
    blame = judged(made, budgets=Budgets(miou_loss=5.0)).blame
    assert blame is not None
    assert blame.worst == ()


def spoiling(real: Callable[..., TileModel]) -> Callable[..., TileModel]:
    """Function that opens a model whose fusion gives class 0 everywhere."""

    def opened(parts: Any, choice: Any) -> TileModel:
        model = real(parts, choice)
        run = model.sessions[-1].run

        def spoilt(feed: Any) -> Any:
            return {name: 0 * array for name, array in run(feed).items()}

        model.sessions[-1].run = spoilt  # type: ignore[method-assign]
        return model

    return opened


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[TileModel]:
    """Models that a trial has opened and not closed."""
    found: list[TileModel] = []
    for name in ("open_emulation", "open_converted"):
        real = getattr(exporter.trial, name)

        def open_it(*args: Any, real: Any = real) -> TileModel:
            model: TileModel = real(*args)
            found.append(model)
            return model

        monkeypatch.setattr(exporter.trial, name, open_it)
    close = TileModel.close

    def close_it(model: TileModel) -> None:
        found[:] = [other for other in found if other is not model]
        close(model)

    monkeypatch.setattr(TileModel, "close", close_it)
    return found


def test_models_are_closed_when_they_were_measured(
    bench: MakeBench, opened: list[TileModel]
) -> None:
    made = bench(aerial=OVERFLOW["aerial"])
    parts = made.workshop().convert(made.plan())
    made.trial.search(parts, made.options)
    assert opened == []
    made.trial.judge(parts, made.options, made.store, lambda done, total: None)
    assert opened == []
    # The FP32 model stays open for the next.
    assert made.trial.search(parts, made.options).candidates


def test_models_are_closed_when_measuring_fails(
    bench: MakeBench, opened: list[TileModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = bench()
    parts = made.workshop().convert(made.plan())

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("interrupted")

    monkeypatch.setattr(exporter.trial, "measure_gate", fail)
    with pytest.raises(RuntimeError, match="interrupted"):
        made.trial.search(parts, made.options)
    assert opened == []
