from __future__ import annotations

import io

from locallearn.training.progress import Bar, Lines, Silent, epoch_line, for_stream

RECORD = {
    "epoch": 3,
    "blocks": [{"loss": 9.0}, {"loss": 0.25}],
    "train_accuracy": 50.0,
    "validation_accuracy": None,
    "test_accuracy": 12.345,
}


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(progress):
    progress.begin("a [run]", done=0, steps=4)
    for done in range(1, 5):
        progress.step(done)
    progress.epoch(RECORD, 7)
    progress.note("[note]")
    progress.end()


def test_a_line_for_each_epoch_elsewhere():
    stream = io.StringIO()
    assert isinstance(for_stream(stream), Lines)
    run(for_stream(stream))
    assert stream.getvalue().splitlines() == [
        "a [run]: step 0 of 4",
        "epoch 3/7, loss 0.2500, train 50.00 %, test 12.35 %",
        "[note]",
    ]


def test_another_score_is_named():
    record = RECORD | {"score": "mean_iou", "validation_mean_iou": None, "test_mean_iou": 33.0}
    assert epoch_line(record, 7) == "epoch 3/7, loss 0.2500, train accuracy 50.00 %, test mean iou 33.00 %"


def test_a_bar_on_a_terminal():
    stream = Terminal()
    progress = for_stream(stream)
    assert isinstance(progress, Bar)
    run(progress)
    assert stream.getvalue().count("a [run]") == 1
    assert "epoch 3/7, loss 0.2500" in stream.getvalue()
    assert "[note]" in stream.getvalue()


def test_silence(capsys):
    run(Silent())
    assert capsys.readouterr() == ("", "")
