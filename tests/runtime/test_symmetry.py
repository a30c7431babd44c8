import numpy as np
import pytest

from runtime.symmetry import DIHEDRAL, FLIPS, Symmetry

SQUARE = np.arange(18).reshape(2, 3, 3)


@pytest.mark.parametrize("symmetry", DIHEDRAL, ids=str)
def test_the_inverse_undoes_a_symmetry(symmetry: Symmetry) -> None:
    np.testing.assert_array_equal(symmetry.inverse(symmetry(SQUARE)), SQUARE)
    np.testing.assert_array_equal(symmetry(symmetry.inverse(SQUARE)), SQUARE)


@pytest.mark.parametrize(("group", "count"), [(FLIPS, 4), (DIHEDRAL, 8)], ids=["flips", "all"])
def test_one_after_another_is_one_of_them_again(group: tuple[Symmetry, ...], count: int) -> None:
    found = {symmetry(SQUARE).tobytes() for symmetry in group}
    assert len(found) == count
    for first in group:
        assert {then(first(SQUARE)).tobytes() for then in group} == found


def test_flips_change_no_rows_into_columns() -> None:
    """Left and right, top and bottom, and both; the first changes nothing."""
    flat = np.arange(6).reshape(2, 3)
    expected = [flat, flat[::-1, ::-1], flat[:, ::-1], flat[::-1]]
    for symmetry, array in zip(FLIPS, expected, strict=True):
        np.testing.assert_array_equal(symmetry(flat), array)
