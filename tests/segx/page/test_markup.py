"""Text never becomes markup, and pictures are what they were."""

from html.parser import HTMLParser

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from page_reader import read_page

from segx.page.markup import Html, brief, joined, tag, text
from segx.page.png import encode

TEXTS = st.text(max_size=60)


@given(inside=TEXTS, attribute=TEXTS)
def test_a_text_comes_back_as_it_was_and_makes_no_element(inside: str, attribute: str) -> None:
    page = tag("p", inside, tag("b", inside, title=attribute), class_=attribute)
    paragraph, bold = read_page(page).elements
    shown = inside.translate(_GONE)
    assert paragraph.text == 2 * shown
    assert (bold.text, bold.parents) == (shown, ("p",))
    assert bold.attributes["title"] == paragraph.attributes["class"] == attribute.translate(_GONE)


_UNFIT = [*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000)]
_GONE = dict.fromkeys([*_UNFIT, *range(0xFDD0, 0xFDF0), 0xFFFE, 0xFFFF], "\ufffd")


@given(TEXTS)
def test_only_markup_is_left_as_it_is(words: str) -> None:
    assert joined([words]) == text(words)
    assert joined([Html(words)]) == words
    assert not set("<>\"'") & set(text(words))


@given(TEXTS, st.integers(2, 40))
def test_a_shortened_text_fits_and_says_that_it_is_shortened(words: str, length: int) -> None:
    found = brief(words, length)
    assert len(found) <= length
    assert (found == words) == (len(words) <= length)
    assert found == words or (found[-1] == "\u2026" and words.startswith(found[:-1]))


def test_attributes_that_are_not_given_are_left_out() -> None:
    (element,) = read_page(tag("td", 1, 2.5, None, class_=None, aria_label="x")).elements
    assert (element.attributes, element.text) == ({"aria-label": "x"}, "12.5")


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.data())
def test_a_picture_is_read_as_it_was_written(
    height: int, width: int, channels: int, data: st.DataObject
) -> None:
    pixels = data.draw(arrays(np.uint8, (height, width, channels)))
    with rasterio.MemoryFile(encode(pixels)) as file:
        with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
            dataset = file.open(driver="PNG")
        with dataset:
            assert (np.moveaxis(dataset.read(), 0, -1) == pixels).all()


def test_the_reader_of_these_tests_refuses_what_is_not_closed() -> None:
    assert issubclass(type(read_page("<p></p>")), HTMLParser)
    for broken in ("<p>", "<p><b></p></b>", "</p>", '<p id="a" id="b"></p>'):
        with pytest.raises(AssertionError):
            read_page(broken)
