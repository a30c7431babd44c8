"""Configs: every preset is complete, and every mistake is named with its remedy."""

import re
from pathlib import Path

import pytest

from runtime import schema
from runtime.errors import ConfigError
from trainkit.config import TrainConfig, load, presets
from trainkit.inputs import aerial_spec


@pytest.mark.parametrize("name", presets())
def test_every_preset_says_its_own_name_and_survives_a_round_trip(name: str) -> None:
    config = load(name)
    assert config.name == name
    assert schema.parse(TrainConfig, schema.to_dict(config), where="round trip") == config


def test_the_contract_s_presets_of_this_family_are_there() -> None:
    assert {"lf-dlm", "lf-dlm-x2", "lf-dlm-tiny", "unetformer", "u-tae"} <= set(presets())


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no preset 'lf-dml'; did you mean 'lf-dlm'\?"):
        load("lf-dml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "absent.toml"
    with pytest.raises(ConfigError, match=re.escape(f"there is no file {path}")):
        load(path)


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken\.toml is not TOML"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[input]\ntile_sise = 512", "unknown key 'tile_sise'; did you mean 'tile_size'"),
        ("[input]\ntile_size = 400", "tile_size is 400; use a multiple of 256, next 512"),
        (
            "[satellite]\n[input]\nsatellite_window = 44",
            "satellite_window is 44; use a multiple of 8, next 48",
        ),
        ("[input]\naerial_mean = [1.0]", "aerial_mean has 1 values for 5 aerial bands"),
        ("[input]\nresolution_m = 0", "give one above 0"),
        (
            "[input.value_scaling]\nminimum = [0]\nmaximum = [4095]",
            "value_scaling has 1 values for 5 aerial bands",
        ),
        ("[[aerial]]\ndecoder_width = 40", "decoder_width is 40; use a multiple of 16"),
        ("[satellite]\nencoder_widths = [64, 64, 128, 64]", "they must be equal"),
        ("[satellite]\nencoder_widths = [64, 64, 128]", "need four values each"),
        ("[satellite]\nn_head = 48", "must be multiples of n_head 48"),
        ("[satellite]\n[fusion]\nweights = [0.7, 0.3]", "has 2 values for 1 branches"),
        ("[[aerial]]\n[satellite]\n[fusion]\nweights = 1.7", "a single number must be 0 to 1"),
        ("", "there is no branch"),
        ('[[aerial]]\n[satellite]\nhead = "original"', "whose scores are never negative"),
        ("[[aerial]]\n[training.aerial]\nsteps = 9", "epochs is 30 and steps is 9; set one"),
        ("[[aerial]]\n[training.aerial]\ncrop_px = 1024", "use at most tile_size, 512"),
        ("[[aerial]]\n[training.aerial]\nbatch = 0", "must be at least 1"),
    ],
)
def test_a_mistake_is_found_and_its_remedy_named(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n{text}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(path)


@pytest.mark.parametrize(
    ("branches", "weights", "expected"),
    [
        ("[[aerial]]\n[satellite]", "0.7", (0.7, 0.3)),
        ("[[aerial]]\n[[aerial]]\n[satellite]", "0.7", (0.35, 0.35, 0.3)),
        ("[[aerial]]", "0.7", (1.0,)),
        ("[satellite]", "0.7", (1.0,)),
        ("[[aerial]]\n[satellite]", "[0.6, 0.5]", (0.6, 0.5)),
    ],
)
def test_one_number_is_the_weight_of_the_aerial_side(
    branches: str, weights: str, expected: tuple[float, ...], tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\n{branches}\n[fusion]\nweights = {weights}\n')
    assert load(path).fusion_weights == pytest.approx(expected)


def test_how_16_bits_became_8_is_told_to_the_bundle(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    rule = "minimum = [0, 0, 0, 0, 0]\nmaximum = [4095, 4095, 4095, 8191, 255]"
    path.write_text(f'name = "mine"\n[[aerial]]\n[input.value_scaling]\n{rule}\n')
    config = load(path)
    assert schema.parse(TrainConfig, schema.to_dict(config), where="round trip") == config
    scaling = aerial_spec(config).value_scaling
    assert scaling is not None
    assert scaling.maximum == (4095, 4095, 4095, 8191, 255)
    assert aerial_spec(load("unetformer")).value_scaling is None
