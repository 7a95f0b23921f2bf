from __future__ import annotations

import pytest

from locallearn.plotting.figure_file import save_figure, styled
from locallearn.plotting.heatmap import heatmap


@pytest.fixture
def figure():
    with styled():
        return heatmap(
            {"dgl": [[0.2, None], [0.4, 0.6], [0.8, 1.0]], "other": [[0.1, 0.3]]}, title="T", columns="ref", value="CKA"
        )


def test_rows_go_up_and_columns_right_by_one_scale(figure):
    panels = figure.axes[:2]
    (image,) = panels[0].images
    assert image.get_array().shape == (3, 2) and image.origin == "lower" and image.get_extent() == [0.5, 2.5, 0.5, 3.5]
    assert image.get_array().mask.tolist() == [[False, True], [False, False], [False, False]]
    assert all(axes.images[0].get_clim() == (0, 1) for axes in panels)
    assert [(axes.get_xlabel(), axes.get_ylabel()) for axes in panels] == [
        ("block of ref", "block of dgl"),
        ("block of ref", "block of other"),
    ]


def test_it_can_be_saved(figure, tmp_path):
    with styled():
        save_figure(figure, tmp_path / "pairs.svg")
    assert "block of dgl" in (tmp_path / "pairs.svg").read_text()
