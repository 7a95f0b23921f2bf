"""The picture."""

from __future__ import annotations

import pytest

from locallearn.errors import InputError
from locallearn.simulation.plot import save_plot
from locallearn.simulation.prediction import GPipe, LocalLearning, predicted
from locallearn.simulation.workload import BlockCost, Link, Workload

WORKLOAD = Workload((BlockCost(1, 2, 0.6, 10, 80, 4),) * 8, 128)
COURSES = {
    name: [predicted(WORKLOAD, [schedule], count, link=Link(40.0)) for count in (2, 4, 1024)]
    for name, schedule in (("ours", LocalLearning()), ("theirs", GPipe(8)))
}


def test_a_line_for_each_schedule_and_a_tick_for_each_number(tmp_path):
    save_plot(COURSES, tmp_path / "figure.svg", title="a & b", one_worker=40.0)
    drawn = (tmp_path / "figure.svg").read_text()
    for words in ("ours", "theirs", "a &amp; b", "throughput", "memory of the fullest worker in MiB", "1,024"):
        assert words in drawn


def test_an_ending_that_says_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        save_plot(COURSES, tmp_path / "figure.txt", title="", one_worker=40.0)
