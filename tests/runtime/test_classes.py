import pytest

from runtime.classes import LandCoverClass


def test_a_colour_is_given_as_red_green_blue() -> None:
    assert LandCoverClass(name="a", color="#01fF80").rgb == (1, 255, 128)


@pytest.mark.parametrize("color", ["", "red", "#fff", "#12345g", "#1234567", "123456", "#123456\n"])
def test_a_colour_that_cannot_be_drawn_is_refused(color: str) -> None:
    with pytest.raises(ValueError, match="class a has the colour"):
        LandCoverClass(name="a", color=color)
