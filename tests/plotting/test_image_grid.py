"""Pictures in rows and columns."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

from locallearn.plotting.figure_file import styled
from locallearn.plotting.image_grid import Band, TileRow, image_grid


def test_each_tile_stands_in_its_row_and_column_under_its_label():
    tiles = np.arange(8.0).reshape(2, 2, 2) / 7
    rows = [TileRow("block 1", tiles, ["#3", "#0"]), TileRow("block 2", tiles[:1], ["#5"])]
    bands = [Band(np.zeros((4, 4, 3)), f"image {index}", {"one": rows, "two": rows[:1]}) for index in range(2)]
    with styled():
        figure = image_grid(bands, title="Feature maps", caption="how")
    assert len(figure.axes) == 6
    picture, one, two = figure.axes[:3]
    assert picture.get_title("left") == "image 0"
    assert (one.get_title("left"), two.get_title("left")) == ("one", "two")
    assert [label.get_text() for label in one.get_yticklabels()] == ["block 1", "block 2"]
    places = [image.get_extent() for image in one.images]
    assert places[0][:2] == places[2][:2] != places[1][:2]
    assert places[0][2:] == places[1][2:] and places[0][2] < places[2][2]
    assert np.allclose(one.images[1].get_array(), colormaps["magma"](tiles[1]))
    assert [text.get_text() for text in one.texts] == ["#3", "#0", "#5"]
    assert len(two.images) == 2
    assert figure.get_supxlabel() == "how"
