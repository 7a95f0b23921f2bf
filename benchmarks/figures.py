"""Charts of the documents, drawn from result files: `python -m benchmarks.figures`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.analyses import REFERENCE
from benchmarks.result_files import result

from locallearn.analysis.gradient_agreement import inner_mean
from locallearn.plotting.figure_file import save_figure, styled
from locallearn.plotting.over_depth import over_depth
from locallearn.plotting.over_steps import over_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = Path(__file__).parent.parent / "docs" / "figures"


def probe() -> Figure:
    """Linear separability over depth."""
    rows = [row for row in result("analyses")["rows"] if row["probe"]]
    return over_depth(
        {row["name"]: row["probe"]["accuracy"] for row in rows},
        spreads={row["name"]: row["probe"]["deviation"] for row in rows if row["probe"].get("deviation")},
        title="A linear classifier on the features of every block",
        value="test accuracy in %",
    )


def similarity() -> Figure:
    """CKA with back-propagation over depth."""
    key = f"similarity-with-{REFERENCE}"
    rows = [row for row in result("analyses")["rows"] if row[key]]
    return over_depth(
        {row["name"]: row[key]["curve"] for row in rows},
        title="Similarity with the same block of back-propagation",
        value="CKA",
    )


def agreement() -> Figure:
    """Cosine with back-propagation's gradient over depth, at the end of training."""
    rows = [row for row in result("analyses")["rows"] if row["agreement"]]
    return over_depth(
        {row["name"]: row["agreement"]["mean"][-1] for row in rows},
        title="What blocks learn from, beside back-propagation's gradient",
        value="cosine, at the end of training",
    )


def agreement_over_training() -> Figure:
    """Cosine with back-propagation's gradient over training, mean over the blocks but the last."""
    rows = [row for row in result("analyses")["rows"] if row["agreement"]]
    return over_steps(
        {
            row["name"]: (row["agreement"]["steps"], [inner_mean(each) for each in row["agreement"]["mean"]])
            for row in rows
        },
        title="What inner blocks learn from, over training",
        x="steps",
        value="cosine with back-propagation's gradient",
    )


def exits() -> Figure:
    """Accuracy of every hidden head over the work up to there."""
    rows = [row for row in result("analyses")["rows"] if row["exits"]]
    # Of several heads at a block the one that is in the ensemble.
    places = {row["name"]: [place for place in row["exits"]["exits"] if place["ensemble_macs"]] for row in rows}
    return over_steps(
        {
            name: ([place["macs"] / 1e6 for place in found], [place["accuracy"] for place in found])
            for name, found in places.items()
        },
        title="Stopping early: what the heads of blocks say",
        x="million multiply-accumulates per image",
        value="test accuracy in %",
    )


FIGURES: dict[str, Callable[[], Figure]] = {
    "probe": probe,
    "similarity": similarity,
    "exits": exits,
    "agreement": agreement,
    "agreement_over_training": agreement_over_training,
}


def main() -> None:
    """Draw all."""
    FOLDER.mkdir(exist_ok=True)
    with styled():
        for name, draw in FIGURES.items():
            save_figure(draw(), FOLDER / f"{name}.svg")
            print(FOLDER / f"{name}.svg")


if __name__ == "__main__":
    main()
