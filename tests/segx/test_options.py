"""How a bundle is run follows from the options; those that say nothing to it are refused."""

from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from runtime.backends import BackendOption
from runtime.engines.options import EnginePolicy
from segx import __version__
from segx.options import BackendName, RunFlags

GIVEN: dict[str, dict[str, Any]] = {
    "--threads": {"threads": 2},
    "--cuda": {"cuda": "auto"},
    "--rebuild": {"rebuild": "auto"},
    "--engines": {"engines": Path("engines")},
    "--trust-engines": {"trust_engines": True},
    "--skip-self-test": {"skip_self_test": True},
}
ENGINES = {"--rebuild", "--engines", "--trust-engines"}
UNFIT = {
    "auto": set(),
    "tensorrt": {"--threads"},
    "tensorrt-rtx": {"--threads"},
    "onnxruntime-cuda": ENGINES,
    "openvino": {"--cuda", *ENGINES},
    "onnxruntime": {"--cuda", *ENGINES},
}


def test_the_command_line_knows_the_backends_of_the_runtime() -> None:
    assert tuple(name.value for name in BackendName) == get_args(BackendOption)


def test_nothing_given_means_the_defaults() -> None:
    request = RunFlags().request()
    assert RunFlags().given == ()
    assert (request.backend, request.variant, request.batch) == ("auto", "classes", 1)
    assert (request.threads, request.cuda, request.self_test) == (None, "auto", True)
    assert request.policy == EnginePolicy()
    assert request.segx_version == __version__


def test_everything_given_arrives() -> None:
    flags = RunFlags(
        backend=BackendName.tensorrt,
        cuda="pycuda",
        rebuild="never",
        engines=Path("engines"),
        trust_engines=True,
        skip_self_test=True,
    )
    request = flags.request(variant="probabilities", batch=4)
    assert (request.backend, request.variant, request.batch) == ("tensorrt", "probabilities", 4)
    assert (request.cuda, request.self_test) == ("pycuda", False)
    policy = EnginePolicy(rebuild="never", folder=Path("engines"), trust_folder=True)
    assert request.policy == policy
    assert RunFlags(threads=3).request().threads == 3


@pytest.mark.parametrize("backend", BackendName)
@pytest.mark.parametrize("option", GIVEN)
def test_an_option_that_says_nothing_to_a_named_backend_is_refused(
    backend: BackendName, option: str
) -> None:
    flags = RunFlags(backend=backend, **GIVEN[option])
    assert option in flags.given
    if option in UNFIT[backend.value]:
        with pytest.raises(typer.BadParameter, match=f"says nothing to --backend {backend.value}"):
            flags.request()
    else:
        flags.request()


def test_every_option_counts_as_given() -> None:
    everything = {name: value for given in GIVEN.values() for name, value in given.items()}
    flags = RunFlags(backend=BackendName.openvino, **everything)
    assert len(flags.given) == len(fields(RunFlags))
