"""A declaration is read as it is written, and what is wrong in it is named."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.importing import load_declaration
from exporter.importing.declaration import AerialInput
from runtime.errors import ConfigError
from runtime.manifest import ValueScaling
from runtime.tomlfile import MOST_BYTES

TEXT = """
[aerial]
bands = ["red", "green", "blue"]
resolution_m = 0.2
tile_size = 512
divisor = 255.0
mean = [0.5, 0.4, 0.3]
std = [0.2, 0.2, 0.1]

[output]
kind = "logits"

[[classes]]
name = "other"
color = "#000000"

[[classes]]
name = "building"
color = "#ff0000"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text)
    return path


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    found = load_declaration(write(tmp_path, TEXT), tmp_path / "unet.onnx")
    assert (found.name, found.satellite, found.aerial.layout) == ("unet", None, "NCHW")
    spec = found.aerial_spec(is_exact=False)
    assert (spec.halo, spec.stride) == (64, 32)
    assert spec.normalization.mean == pytest.approx((127.5, 102.0, 76.5))
    assert spec.normalization.std == pytest.approx((51.0, 51.0, 25.5))


def test_values_of_16_bits_are_scaled_as_declared(tmp_path: Path) -> None:
    rule = "[aerial.value_scaling]\nminimum = [0, 0, 0]\nmaximum = [{}]\n\n[output]"
    text = TEXT.replace("[output]", rule.format("4095, 4095, 2047"))
    spec = load_declaration(write(tmp_path, text), tmp_path / "unet.onnx").aerial_spec(
        is_exact=False
    )
    assert spec.value_scaling == ValueScaling(minimum=(0, 0, 0), maximum=(4095, 4095, 2047))
    text = TEXT.replace("[output]", rule.format("4095, 4095, 0"))
    with pytest.raises(ConfigError, match="expected a smaller and a larger number for each band"):
        load_declaration(write(tmp_path, text), tmp_path / "unet.onnx")


@given(tile=st.integers(8, 2048), stride=st.sampled_from([1, 2, 4, 8, 16, 32]))
def test_the_halo_that_is_chosen_keeps_tiles_on_the_lattice(tile: int, stride: int) -> None:
    given = AerialInput(bands=("red",), resolution_m=0.2, tile_size=tile, stride=stride)
    halo = given.chosen_halo
    assert 0 <= halo <= tile // 8
    assert halo == 0 or (tile - 2 * halo) % stride == 0
    larger = range(halo + 1, tile // 8 + 1)
    assert all((tile - 2 * candidate) % stride for candidate in larger)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tile_size", "tile_sice", "unknown key 'tile_sice'; did you mean 'tile_size'?"),
        ("mean = [0.5, 0.4, 0.3]", "mean = [0.5]", "aerial.mean has 1 values for 3 bands"),
        ("std = [0.2, 0.2, 0.1]", "std = [0.2, 0.2, 0.0]", "aerial.std has 0.0"),
        ('"green"', '"red"', "each once"),
        ('kind = "logits"', 'kind = "map"', "expected one of logits, probabilities, classes"),
        ("tile_size = 512", "tile_size = 511", "expected a multiple of 32 px"),
        ("tile_size = 512", "tile_size = 512\nhalo = 300", "leaves no interior"),
        ('"#ff0000"', '"red"', "expected #rrggbb"),
        ("[output]", "[output", "is not TOML"),
        ("[output]", '[satellite]\ninput = "s"\nbands = ["B99"]\n[output]', "satellite bands"),
        (
            "[output]",
            '[satellite]\ninput = "s"\nlayout = "NBhw"\nmask = "m"\n[output]',
            '"NBhw" has no months',
        ),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(ConfigError) as found:
        load_declaration(path, tmp_path / "unet.onnx")
    assert message in str(found.value)
    assert str(path) in str(found.value)


def test_one_class_is_none(tmp_path: Path) -> None:
    text = TEXT[: TEXT.rindex("[[classes]]")]
    with pytest.raises(ConfigError, match="1 classes; expected 2 to 255"):
        load_declaration(write(tmp_path, text), tmp_path / "unet.onnx")


def test_a_file_that_is_missing_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a TOML file that declares the inputs"):
        load_declaration(tmp_path / "model.toml", tmp_path / "unet.onnx")
    path = write(tmp_path, "")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_declaration(path, tmp_path / "unet.onnx")
    path.write_bytes(b"#" * (MOST_BYTES + 1))
    with pytest.raises(ConfigError, match="at most are read"):
        load_declaration(path, tmp_path / "unet.onnx")
