"""Laws: named bands are found wherever they lie; what is lacking is never made up unsaid."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from runtime.errors import BandError, ConfigError
from runtime.geoseries import open_series
from runtime.satellite import BANDS
from runtime.satellite_bands import parse_substitutes
from runtime.satellite_cells import Pixels

Write = Callable[..., Path]
DAY = ("20210115",)
SPELLINGS: tuple[Callable[[str], str], ...] = (
    str.upper,
    str.lower,
    lambda name: name.replace("B0", "B"),
)


def numbers(size: int = 40) -> NDArray[np.uint16]:
    """Digital numbers of one date."""
    return np.random.default_rng(1).integers(1, 9000, (1, 10, size, size), dtype=np.uint16)


def whole(folder: Path) -> Pixels:
    """All pixels of a series."""
    series = open_series(folder)
    return series.read(*(slice(0, size) for size in series.shape))


def refusal(folder: Path) -> str:
    with pytest.raises(BandError) as refused:
        open_series(folder)
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    return message


@given(data=st.data())
def test_named_bands_may_lie_in_any_order(
    data: st.DataObject, write_series: Write, tmp_path_factory: pytest.TempPathFactory
) -> None:
    order = data.draw(st.permutations(range(len(BANDS))))
    spell = data.draw(st.sampled_from(SPELLINGS))
    own, mixed = tmp_path_factory.mktemp("own"), tmp_path_factory.mktemp("mixed")
    dn = numbers(8)
    write_series(own, days=DAY, dn=dn, size=8)
    names = [spell(BANDS[index]) for index in order]
    write_series(mixed, days=DAY, dn=dn[:, order], bands=names, size=8)
    np.testing.assert_array_equal(whole(mixed).dn, whole(own).dn)
    text = open_series(mixed).bands_text
    assert (text is None) == (order == list(range(len(BANDS))))


def test_other_named_bands_are_passed_over(write_series: Write, tmp_path: Path) -> None:
    dn = numbers()
    more = np.concatenate([np.full_like(dn[:, :1], 77), dn, np.full_like(dn[:, :1], 5)], axis=1)
    write_series(tmp_path, days=DAY, dn=more, bands=("B01", *BANDS, "SCL"))
    np.testing.assert_array_equal(whole(tmp_path).dn[:, :, 0], dn[0].transpose(1, 2, 0))
    numbered = ", ".join(str(index) for index in range(2, 12))
    assert open_series(tmp_path).bands_text == (
        f"bands {numbered} of the files are {', '.join(BANDS)}"
    )


def test_a_band_that_is_lacking_is_named_and_another_one_may_stand_for_it(
    write_series: Write, tmp_path: Path
) -> None:
    dn = numbers()
    names = [name for name in BANDS if name != "B8A"]
    write_series(tmp_path, days=DAY, dn=np.delete(dn, 7, axis=1), bands=names)
    message = refusal(tmp_path)
    assert "and so lacks B8A; expected each of B02, B03" in message
    assert message.endswith("--satellite-substitute B8A=B08")
    series = open_series(tmp_path, substitutes=parse_substitutes("b8a=B8"))
    found = series.read(slice(0, 40), slice(0, 40)).dn[:, :, 0]
    dn[:, 7] = dn[:, 6]
    np.testing.assert_array_equal(found, dn[0].transpose(1, 2, 0))
    assert series.bands_text is not None
    assert series.bands_text.endswith("; B08 stands for B8A")


def test_a_substitute_for_what_is_there_is_refused(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path)
    with pytest.raises(ConfigError, match=r"stands for B8A, and .*S2_20210115.tif holds it; exp"):
        open_series(tmp_path, substitutes={"B8A": "B08"})


def test_a_band_of_two_places_is_refused(write_series: Write, tmp_path: Path) -> None:
    write_series(tmp_path, bands=("B03", *BANDS[1:]))
    assert "lacks B02" in refusal(tmp_path)
    dn = numbers()
    write_series(
        tmp_path / "two", days=DAY, dn=np.append(dn, dn[:, :1], axis=1), bands=(*BANDS, "B02")
    )
    assert "B02 more than once; expected" in refusal(tmp_path / "two")


@pytest.mark.parametrize("text", ["", "B8A", "B8A=", "B8A=B8A", "B8A=B01", "B8A=B08,B08=B07"])
def test_a_substitute_that_names_no_bands_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"; expected LACKING=HELD such as B8A=B08, of B02, "):
        parse_substitutes(text)
