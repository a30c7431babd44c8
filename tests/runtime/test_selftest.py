"""A model that does not give what its golden tile says is refused, each way with its own error."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime import selftest
from runtime.backends import Backend, BackendChoice
from runtime.bundle import Bundle, open_bundle
from runtime.errors import (
    AllZeroError,
    BundleError,
    CollapsedError,
    DisagreementError,
    NotFiniteError,
    SelfTestError,
)
from runtime.manifest import Precision
from runtime.model import TileModel, golden_feed, open_model
from runtime.selftest import BOUNDS, LEAST_DECIDED, SelfTest, self_test
from runtime.session import ExecutedPrecision

Arrays = dict[str, NDArray[Any]]
Change = Callable[[Arrays], None]


class Prepared:
    """A session that gives prepared arrays, whatever it is fed."""

    precision: ExecutedPrecision = "fp16"

    def __init__(self, inputs: tuple[Any, ...], outputs: Mapping[str, NDArray[Any]]) -> None:
        self.inputs = inputs
        self._outputs = outputs

    def run(self, feed: Mapping[str, NDArray[Any]]) -> Arrays:
        return dict(self._outputs)

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Bundle:
    return open_bundle(tiny_bundle)


@pytest.fixture
def golden(opened: Bundle, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Outputs of a golden tile of six classes, half of it decided; tests may change them."""
    feed, outputs = golden_feed(opened)
    rows, cols = np.ogrid[:64, :64]
    outputs["classes"] = np.asarray((rows // 16 + cols // 22) % 6, dtype=np.uint8)[None]
    outputs["confidence"] = np.asarray(np.where(rows < 32, 230, 90) + 0 * cols, dtype=np.uint8)[
        None
    ]
    expected = {name: array.copy() for name, array in outputs.items()}
    monkeypatch.setattr(selftest, "golden_feed", lambda bundle: (feed, expected))
    return outputs


def judged(
    opened: Bundle,
    outputs: Arrays,
    *,
    backend: Backend = "openvino",
    precision: Precision = "fp32",
    batch: int = 1,
) -> SelfTest:
    """Test a model that gives these outputs."""
    manifest = dataclasses.replace(opened.manifest, precision=precision)
    parts = manifest.parts_for("probabilities" if "probabilities" in outputs else "classes")
    sessions = tuple(
        Prepared(
            tuple(dataclasses.replace(s, shape=s.with_batch(batch)) for s in part.inputs),
            {spec.name: np.repeat(outputs[spec.name], batch, axis=0) for spec in part.outputs},
        )
        for part in parts
    )
    model = TileModel(parts=parts, sessions=sessions)
    return self_test(model, dataclasses.replace(opened, manifest=manifest), backend)


def without_probabilities(outputs: Arrays) -> Arrays:
    return {name: array for name, array in outputs.items() if name != "probabilities"}


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("variant", ["classes", "probabilities"])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_healthy_model_passes_in_every_variant_and_batch(
    opened: Bundle, backend: Backend, variant: Any, batch: int
) -> None:
    choice = BackendChoice(name=backend, reason="a test")
    model = open_model(opened, choice, variant=variant, threads=1, batch=batch)
    found = self_test(model, opened, backend)
    assert found.agreement == 1.0
    assert found.confidence_difference == pytest.approx(0.0, abs=2e-3)
    assert found.seconds is not None
    assert found.seconds > 0
    assert not found.skipped


@pytest.mark.parametrize("batch", [1, 2])
def test_what_was_found_is_told(opened: Bundle, golden: Arrays, batch: int) -> None:
    golden["classes"][0, 63] += 1
    golden["confidence"][0, :, :32] -= 1
    found = judged(opened, without_probabilities(golden), batch=batch)
    assert found.agreement == pytest.approx(63 / 64)
    assert found.decided == 1.0
    assert found.confidence_difference == pytest.approx(0.5 / 254)


# Poisons, each refused by one check.


def nan_in_a_branch(outputs: Arrays) -> None:
    outputs["aerial_logits"][0, 3, 2, 1] = np.nan


def infinity_in_the_other_branch(outputs: Arrays) -> None:
    outputs["satellite_logits"][0, 0, 0, 0] = -np.inf


def zero_branch(outputs: Arrays) -> None:
    outputs["satellite_logits"][:] = 0


def zero_maps(outputs: Arrays) -> None:
    outputs["classes"][:] = 0
    outputs["confidence"][:] = 0


def one_class(outputs: Arrays) -> None:
    outputs["classes"][:] = 4


def one_class_that_is_not_known(outputs: Arrays) -> None:
    outputs["classes"][:] = 255


def almost_one_class(outputs: Arrays) -> None:
    outputs["classes"][:] = 4
    outputs["classes"][0, 0, :4] = 1


def decided_pixels_differ(outputs: Arrays) -> None:
    outputs["classes"][0, 2:4, :32] += 1


def undecided_pixels_differ(outputs: Arrays) -> None:
    outputs["classes"][0, 50:54] += 1


def other_confidence(outputs: Arrays) -> None:
    outputs["confidence"] += 2


POISONS: dict[Change, tuple[type[SelfTestError], str]] = {
    nan_in_a_branch: (NotFiniteError, "gives 1 numbers of 3328 in 'aerial_logits' that are NaN"),
    infinity_in_the_other_branch: (NotFiniteError, "gives 1 numbers of 832 in 'satellite_logits'"),
    zero_branch: (AllZeroError, "gives nothing but zeros in part 'satellite'"),
    zero_maps: (AllZeroError, "gives nothing but zeros in part 'fusion'"),
    one_class: (CollapsedError, r"gives one class, water, on 100.00% of its golden tile"),
    one_class_that_is_not_known: (CollapsedError, "gives one class, 255 of 13, on 100.00%"),
    almost_one_class: (CollapsedError, r"gives one class, water, on 99.90% of its golden tile"),
    decided_pixels_differ: (DisagreementError, "on 96.88% of the decided pixels"),
    undecided_pixels_differ: (DisagreementError, "expected class on 93.75% of its golden tile"),
    other_confidence: (DisagreementError, "gives a confidence that is 0.0079 from"),
}


@pytest.mark.parametrize("poison", POISONS, ids=lambda poison: poison.__name__)
def test_every_way_of_being_wrong_has_its_error(
    opened: Bundle, golden: Arrays, poison: Change
) -> None:
    poison(golden)
    error, message = POISONS[poison]
    with pytest.raises(SelfTestError, match=message) as refused:
        judged(opened, without_probabilities(golden))
    assert type(refused.value) is error
    text = str(refused.value)
    assert text.startswith("tiny with openvino gives ")
    assert text.count(";") == 2
    assert "--skip-self-test" in text
    assert "\n" not in text
    with pytest.raises(error):
        judged(opened, without_probabilities(golden), batch=2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_probabilities_must_be_finite(opened: Bundle, golden: Arrays, value: float) -> None:
    golden["probabilities"][0, 1, 2, 3] = value
    with pytest.raises(NotFiniteError, match="in 'probabilities'"):
        judged(opened, golden)


def test_probabilities_of_nothing_are_refused(opened: Bundle, golden: Arrays) -> None:
    golden["probabilities"][:] = 0
    with pytest.raises(AllZeroError, match="part 'fusion_probabilities'"):
        judged(opened, golden)


def test_zeros_that_are_expected_pass(
    opened: Bundle, golden: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero_branch(golden)
    expected = {name: array.copy() for name, array in golden.items()}
    feed, _ = golden_feed(opened)
    monkeypatch.setattr(selftest, "golden_feed", lambda bundle: (feed, expected))
    assert judged(opened, without_probabilities(golden)).agreement == 1.0


def test_zeros_of_a_branch_that_the_golden_tile_is_silent_about_are_refused(
    opened: Bundle, golden: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    zero_branch(golden)
    expected = {name: golden[name].copy() for name in ("classes", "confidence")}
    feed, _ = golden_feed(opened)
    monkeypatch.setattr(selftest, "golden_feed", lambda bundle: (feed, expected))
    with pytest.raises(AllZeroError, match="part 'satellite'"):
        judged(opened, without_probabilities(golden))


def test_one_class_passes_where_one_is_expected(
    opened: Bundle, golden: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_class(golden)
    expected = {name: array.copy() for name, array in golden.items()}
    expected["classes"][0, 0, :30] = 1  # 0.7 % of the tile, and near a tie
    feed, _ = golden_feed(opened)
    monkeypatch.setattr(selftest, "golden_feed", lambda bundle: (feed, expected))
    assert judged(opened, without_probabilities(golden), precision="int8").agreement is not None


def test_a_few_decided_pixels_are_not_judged(
    opened: Bundle, golden: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: array.copy() for name, array in golden.items()}
    expected["confidence"][:] = golden["confidence"][:] = 90
    expected["confidence"].ravel()[: LEAST_DECIDED - 1] = 230
    golden["confidence"].ravel()[: LEAST_DECIDED - 1] = 230
    golden["classes"][0, 0, :50] += 1
    feed, _ = golden_feed(opened)
    monkeypatch.setattr(selftest, "golden_feed", lambda bundle: (feed, expected))
    assert judged(opened, without_probabilities(golden)).decided is None
    expected["confidence"].ravel()[LEAST_DECIDED] = 230
    with pytest.raises(DisagreementError, match="of the decided pixels"):
        judged(opened, without_probabilities(golden))


@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_precision_of_the_bundle_says_how_much_may_differ(
    opened: Bundle, golden: Arrays, precision: Precision
) -> None:
    bounds = BOUNDS[precision]
    decided = int((1 - bounds.decided) * 2048)
    undecided = int((1 - bounds.all) * 4096) - decided
    steps = int(bounds.confidence * 254)
    classes = golden["classes"].reshape(2, -1)
    classes[0, :decided] += 1
    classes[1, :undecided] += 1
    golden["confidence"] += np.uint8(steps)
    found = judged(opened, without_probabilities(golden), precision=precision)
    assert found.decided == pytest.approx(1 - decided / 2048)
    assert found.agreement == pytest.approx(1 - (decided + undecided) / 4096)
    assert found.confidence_difference == pytest.approx(steps / 254)
    cases: list[tuple[str, int | slice, str]] = [
        ("classes", decided, "of the decided pixels"),
        ("classes", 2048 + undecided, "class on .* of its golden tile"),
        ("confidence", slice(None), "gives a confidence"),
    ]
    for name, place, message in cases:
        wrong = golden[name].copy()
        wrong.ravel()[place] += 1
        with pytest.raises(DisagreementError, match=f"{message}.* for {precision}; "):
            judged(opened, {**without_probabilities(golden), name: wrong}, precision=precision)


@pytest.mark.parametrize(
    ("backend", "remedy"),
    [
        ("openvino", "--backend onnxruntime`, export the bundle again"),
        ("onnxruntime", "--backend openvino`, export the bundle again"),
        ("onnxruntime-cuda", "--backend openvino`, export the bundle again"),
        ("tensorrt", r"--backend openvino`, have its engines built anew \(`segx cache --clear`"),
        ("tensorrt-rtx", r"--backend openvino`, have its engines built anew \(`segx cache --c"),
    ],
)
def test_the_message_says_what_helps_with_each_backend(
    opened: Bundle, golden: Arrays, backend: Backend, remedy: str
) -> None:
    one_class(golden)
    with pytest.raises(CollapsedError, match=f"tiny with {backend} gives .*{remedy}"):
        judged(opened, without_probabilities(golden), backend=backend)


def test_a_golden_tile_of_another_size_is_named(
    opened: Bundle, golden: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, expected = golden_feed(opened)
    expected["classes"] = expected["classes"][:, :32]
    expected["confidence"] = expected["confidence"][:, :32]
    monkeypatch.setattr(selftest, "golden_feed", lambda bundle: (feed, expected))
    with pytest.raises(BundleError, match=r"classes of shape \(1, 64, 64\) .*\(1, 32, 64\)"):
        judged(opened, without_probabilities(golden))
