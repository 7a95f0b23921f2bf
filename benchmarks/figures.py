"""Charts of the documents, drawn from result files, means over seeds: `python -m benchmarks.figures`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.analyses import REFERENCE
from benchmarks.over_seeds import Rows, by_name, mean_curve, spread_curve
from benchmarks.result_files import result

from locallearn.analysis.early_exits import in_ensemble
from locallearn.analysis.gradient_agreement import inner_mean
from locallearn.plotting.figure_file import save_figure, styled
from locallearn.plotting.over_depth import over_depth
from locallearn.plotting.over_steps import over_steps

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Sequence[float | None]
FOLDER = Path(__file__).parent.parent / "docs" / "figures"


def probe() -> Figure:
    """Linear separability over depth."""
    curves = _curves("probe", lambda found: found["accuracy"])
    # Of one seed the spread over draws of training images.
    drawn = {
        name: rows[0]["probe"]["deviation"]
        for name, rows in _rows("probe").items()
        if len(rows) == 1 and rows[0]["probe"].get("deviation")
    }
    return over_depth(
        _means(curves),
        spreads=drawn | _spreads(curves),
        title="A linear classifier on the features of every block",
        value="test accuracy in %",
    )


def similarity() -> Figure:
    """CKA with back-propagation over depth."""
    curves = _curves(f"similarity-with-{REFERENCE}", lambda found: found["curve"])
    return over_depth(
        _means(curves),
        spreads=_spreads(curves),
        title="Similarity with the same block of back-propagation",
        value="CKA",
    )


def agreement() -> Figure:
    """Cosine with back-propagation's gradient over depth, at the end of training."""
    curves = _curves("agreement", lambda found: found["mean"][-1])
    return over_depth(
        _means(curves),
        spreads=_spreads(curves),
        title="What blocks learn from, beside back-propagation's gradient",
        value="cosine, at the end of training",
    )


def agreement_over_training() -> Figure:
    """Cosine with back-propagation's gradient over training, mean over the blocks but the last."""
    curves = _curves("agreement", lambda found: [inner_mean(each) for each in found["mean"]])
    steps = {name: rows[0]["agreement"]["steps"] for name, rows in _rows("agreement").items()}
    return over_steps(
        {name: (steps[name], values) for name, values in _means(curves).items()},
        title="What inner blocks learn from, over training",
        x="steps",
        value="cosine with back-propagation's gradient",
    )


def exits() -> Figure:
    """Accuracy of every hidden head over the work up to there."""
    voting = {name: [in_ensemble(row["exits"]["exits"]) for row in rows] for name, rows in _rows("exits").items()}
    return over_steps(
        {
            name: (
                [place["macs"] / 1e6 for place in seeds[0]],
                mean_curve([[place["accuracy"] for place in places] for places in seeds]),
            )
            for name, seeds in voting.items()
        },
        title="Stopping early: what the heads of blocks say",
        x="million multiply-accumulates per image",
        value="test accuracy in %",
    )


def _rows(analysis: str) -> Rows:
    return by_name([row for row in result("analyses")["rows"] if row[analysis]])


def _curves(analysis: str, read: Callable[[dict[str, Any]], Curve]) -> dict[str, list[Curve]]:
    return {name: [read(row[analysis]) for row in rows] for name, rows in _rows(analysis).items()}


def _means(curves: Mapping[str, Sequence[Curve]]) -> dict[str, list[float | None]]:
    return {name: mean_curve(seeds) for name, seeds in curves.items()}


def _spreads(curves: Mapping[str, Sequence[Curve]]) -> dict[str, list[float]]:
    return {name: spread_curve(seeds) for name, seeds in curves.items() if len(seeds) > 1}


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
