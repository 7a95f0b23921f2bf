"""Figures within pages."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from locallearn.plotting.chart import legend_below
from locallearn.plotting.figure_file import INK, styled
from locallearn.plotting.over_steps import over_steps
from locallearn.plotting.svg_text import svg_text


def drawn(name):
    with styled():
        figure = over_steps({name: ([1, 2, 3], [3.0, 2.0, 1.0])}, title=f"{name}'s title", x="epochs", value="loss")
        figure.axes[0].imshow([[0.0, 1.0]], aspect="auto", extent=(1, 2, 1, 2))
        return svg_text(figure, alt=f'The loss of "{name}" < 4')


@pytest.fixture(scope="module")
def texts():
    return drawn("one"), drawn("two")


def test_one_element_that_names_what_it_shows(texts):
    root = ElementTree.fromstring(texts[0])
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["role"] == "img" and root.attrib["width"] == "100%" and "height" not in root.attrib
    assert root.attrib["aria-label"] == root[0].text == 'The loss of "one" < 4'
    assert root[0].tag.endswith("title")
    assert texts[0].startswith("<svg ") and "xlink" not in texts[0]


def test_ids_are_met_and_shared_by_no_two_figures(texts):
    found = [set(re.findall(r' id="([^"]+)"', text)) for text in texts]
    referred = [set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text)) for text in texts]
    assert found == referred and all(found)
    assert not found[0] & found[1]


def test_the_page_keeps_its_colours_fonts_and_styles(texts):
    text = texts[0]
    assert "<style" not in text and "DejaVu" not in text and "<metadata" not in text
    assert INK not in text and "currentColor" in text
    assert not re.search(r"#(ffffff|000000)", text)
    assert re.search(r"<text[^>]*>[^<]*epochs", text)


def test_the_same_figure_gives_the_same_text(texts):
    assert drawn("one") == texts[0]


def test_a_legend_names_each_line_once():
    with styled():
        figure = over_steps({"a": ([1], [1.0])}, title="", x="", value="")
        legend_below(figure)
    assert [text.get_text() for text in figure.legends[-1].get_texts()] == ["a"]
