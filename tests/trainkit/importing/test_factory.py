"""A user's own module: the example of docs/import.md, and modules that do not keep to it."""

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from runtime.errors import CheckpointError, ConfigError
from runtime.satellite import SatelliteSpec
from trainkit.checkpoint import Checkpoint, load_checkpoint
from trainkit.importing import ImportOptions, import_weights
from trainkit.models.declared import call_factory
from trainkit.torch_model import TorchModel

DOCUMENT = Path(__file__).parents[3] / "docs" / "import.md"
OPTIONS = ImportOptions(segx_version="0.1.0")
FACTORY = "mine:build"

Module = Any


def example() -> str:
    blocks = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), flags=re.DOTALL)
    (block,) = (item for item in blocks if "DeclaredModel" in item)
    return str(block)


def write(folder: Path, code: str) -> None:
    (folder / "mine.py").write_text(code)
    sys.modules.pop("mine", None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the example in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write(tmp_path, example())
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.fixture
def imported(here: Path) -> Checkpoint:
    torch.manual_seed(6)
    net = call_factory(FACTORY).module
    torch.save({"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}}, "best.ckpt")
    report = import_weights(Path("best.ckpt"), FACTORY, Path("run"), OPTIONS)
    assert (report.prefix, report.matched) == ("model.", 6)
    return load_checkpoint(Path("run"), factory=FACTORY)


def test_the_example_is_about_thirty_lines() -> None:
    assert len([line for line in example().splitlines() if line.strip()]) <= 32


@torch.no_grad()
def test_the_example_computes_what_its_own_module_does(imported: Checkpoint) -> None:
    net: Module = call_factory(FACTORY).module
    weights = torch.load("best.ckpt", weights_only=True)["state_dict"]
    net.load_state_dict({key.removeprefix("model."): value for key, value in weights.items()})
    generator = torch.Generator().manual_seed(2)
    image = torch.randint(0, 256, (2, 4, 256, 256), generator=generator, dtype=torch.uint8)
    series = torch.rand(2, 12, 3, 8, 8, generator=generator)
    mask, days = torch.ones(2, 12), torch.zeros(2, 12)
    mask[:, 3] = 0.0
    mean, std = (torch.tensor(v).view(1, 4, 1, 1) for v in ((105, 111, 102, 106), (52, 45, 44, 40)))
    known = series * mask[:, :, None, None, None]
    expected = net.decide(
        net.see_image((image.float() - mean) / std), net.see_series(known, mask, days)
    )
    feed = {"aerial": image, "satellite": series, "date_mask": mask, "days": days}
    torch.testing.assert_close(imported.model(feed), expected, atol=1e-5, rtol=1e-4)
    feed["satellite"][:, 3] = float("nan")
    torch.testing.assert_close(imported.model(feed), expected, atol=1e-5, rtol=1e-4)
    ran = TorchModel(imported.model, device=torch.device("cpu")).run(
        {name: value.numpy() for name, value in feed.items()}
    )
    np.testing.assert_array_equal(ran["classes"], expected.argmax(dim=1).byte().numpy())


def test_its_card_says_what_was_declared(imported: Checkpoint) -> None:
    card = imported.card
    assert card.satellite == SatelliteSpec(bands=("B04", "B08", "B11"), window=8, cell_m=6.4)
    assert card.aerial.bands == ("red", "green", "blue", "nir")
    assert [item.name for item in card.classes] == ["water", "trees", "other"]
    assert not card.single_branch
    assert [part.name for part in imported.model.parts()] == [
        *("aerial", "satellite", "fusion", "fusion_probabilities")
    ]


def test_a_checkpoint_alone_runs_no_code(imported: Checkpoint, here: Path) -> None:
    marker = here / "ran"
    write(here, f"open({str(marker)!r}, 'w').close()\n" + example())
    with pytest.raises(ConfigError, match=r"no file runs code by itself.*--factory mine:build"):
        load_checkpoint(here / "run")
    with pytest.raises(CheckpointError, match=r"has the factory mine:build; expected other:make"):
        load_checkpoint(here / "run", factory="other:make")
    assert not marker.exists()
    load_checkpoint(here / "run", factory=FACTORY)
    assert marker.exists()


def test_a_declaration_that_has_changed_is_refused(imported: Checkpoint, here: Path) -> None:
    write(here, example().replace("resolution_m=0.2", "resolution_m=0.25"))
    with pytest.raises(ConfigError, match="declares another input than the checkpoint"):
        load_checkpoint(here / "run", factory=FACTORY)


@torch.no_grad()
def test_aerial_input_alone(here: Path) -> None:
    code = example().replace("satellite=net.see_series, ", "")
    code = code.replace("def decide(self, image, season):", "def decide(self, image):")
    code = re.sub(r"        season = nn.*\n", "", code).replace("[image, season]", "[image, image]")
    write(here, code)
    torch.save(call_factory(FACTORY).module.state_dict(), "w.pth")
    import_weights(Path("w.pth"), FACTORY, Path("run"), OPTIONS)
    opened = load_checkpoint(Path("run"), factory=FACTORY)
    assert opened.card.satellite is None
    assert opened.model.branch_names == ("aerial",)
    feed = opened.model.parts()[0].example()
    assert opened.model(feed).shape == (2, 3, 256, 256)


CHANGES = {
    "fusion of another shape": (
        "return self.out(torch.cat([image, season], dim=1))",
        "return self.out(torch.cat([image, season], dim=1))[..., ::2, ::2]",
        r"gives \[\(1, 3, 128, 128\)\]; expected logits of shape \(1, 3, 256, 256\)",
    ),
    "a part that fails": (
        "torch.relu(self.image(image))",
        "image.nothing",
        "part aerial .* failed",
    ),
    "a part that gives no tensor": (
        "torch.relu(self.image(image))",
        "3.0",
        "aerial .* gives float",
    ),
    "tiles that mix": (
        "torch.relu(self.image(image))",
        "torch.relu(self.image(image - image.mean(dim=0)))",
        "in a batch of two than alone",
    ),
    "one fixed batch": (
        "torch.relu(self.image(image))",
        "torch.relu(self.image(image.view(1, 4, 256, 256)))",
        "fails on a batch of two",
    ),
    "numbers that are none": (
        "torch.relu(self.image(image))",
        "torch.log(self.image(image))",
        "NaN or infinity",
    ),
    "no declaration": ("return DeclaredModel(", "return dict(", "gave dict; expected"),
    "a missing function": ("def build()", "def other()", "failed with AttributeError"),
    "code that cannot be read": ("def build()", "def build(", "failed with SyntaxError"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_module_that_does_not_keep_to_its_declaration_is_refused(change: str, here: Path) -> None:
    torch.save(call_factory(FACTORY).module.state_dict(), "w.pth")
    old, new, message = CHANGES[change]
    assert old in example()
    write(here, example().replace(old, new))
    with pytest.raises(ConfigError, match=message) as refused:
        import_weights(Path("w.pth"), FACTORY, Path("run"), OPTIONS)
    assert "\n" not in str(refused.value)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    "name", ["mine:", ":build", "mine:a.b", "../mine:build", "os.system('x'):f"]
)
def test_a_name_that_is_no_function_is_refused(name: str, here: Path) -> None:
    torch.save({"a": torch.ones(1)}, "w.pth")
    with pytest.raises((ConfigError, ValueError), match="module:function"):
        import_weights(Path("w.pth"), name, Path("run"), OPTIONS)


def test_classes_are_those_of_the_declaration(here: Path) -> None:
    torch.save(call_factory(FACTORY).module.state_dict(), "w.pth")
    given = ImportOptions(segx_version="0.1.0", classes="potsdam")
    with pytest.raises(ConfigError, match=r"declares its classes.*leave --classes out"):
        import_weights(Path("w.pth"), FACTORY, Path("run"), given)


def test_a_config_with_a_factory_cannot_be_trained(here: Path) -> None:
    from trainkit.config import load
    from trainkit.models import build

    Path("own.toml").write_text(
        textwrap.dedent(
            """
            name = "own"
            [joint]
            architecture = "factory"
            factory = "mine:build"
            """
        )
    )
    with pytest.raises(ConfigError, match="no file runs code by itself"):
        build(load("own.toml"))
