"""What the documents say of the analyses, from `results/analyses.json`."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from benchmarks.analyses import REFERENCE
from benchmarks.result_files import measured, result

from locallearn.analysis.gradient_agreement import inner_mean
from locallearn.benchmarking.table import markdown

SIMILARITY = f"similarity-with-{REFERENCE}"
LOCAL = "dgl"
"""Beside which the methods that look ahead are held."""
AHEAD = {"dgl+man": "MAN", "mlaan": "MLAAN", "auglocal": "AugLocal"}


def _rows() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result("analyses")["rows"]} if measured("analyses") else {}


def runs() -> str:
    """The runs, and one number of each analysis.

    Returns:
        Markdown.
    """
    rows = _rows()
    if not rows:
        return "Not measured yet."
    found = result("analyses")
    any_row = next(iter(rows.values()))
    head = (
        f"ResNet-32 in {rows[LOCAL]['num_blocks']} blocks, CIFAR-10, {any_row['steps']} steps of batch "
        f"{any_row['batch_size']}, {any_row['precision']}, one seed, torch "
        f"{found['versions']['torch']}, analyses at commit {found['commit']}. So short a run shows how methods "
        "begin to learn, not where they end."
    )
    columns = [
        "run",
        "test accuracy",
        "probe, blocks 1 to 5",
        "probe, last 5 blocks",
        "mean CKA",
        "mean cosine, first",
        "last",
    ]
    return f"{head}\n\n{markdown(columns, [_cells(name, row) for name, row in rows.items()])}"


def _cells(name: str, row: dict[str, Any]) -> list[str]:
    early, late = _ends(row)
    steps = row["agreement"]["mean"] if row["agreement"] else None
    cosines = ["", ""] if steps is None else [_number(inner_mean(steps[place]), 3) for place in (0, -1)]
    return [
        f"`{name}`",
        f"{row['test_accuracy']:.2f}",
        _number(early, 1),
        _number(late, 1),
        _number(row[SIMILARITY]["mean"] if row[SIMILARITY] else None, 3),
        *cosines,
    ]


def _ends(row: dict[str, Any]) -> tuple[float | None, float | None]:
    # The last block's features are the logits; the five before it are the late ones.
    accuracy = row["probe"]["accuracy"] if row["probe"] else None
    return (fmean(accuracy[:5]), fmean(accuracy[-6:-1])) if accuracy else (None, None)


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


def separability() -> str:
    """Whether early blocks are less separable and late ones more, as MAN's and MLAAN's papers show it.

    Returns:
        A sentence for each method.
    """
    rows = _rows()
    if not rows.get(LOCAL, {}).get("probe"):
        return "Not measured yet."
    early, late = _ends(rows[LOCAL])
    said = []
    for name, title in AHEAD.items():
        if not rows.get(name, {}).get("probe"):
            continue
        own_early, own_late = _ends(rows[name])
        assert early is not None and late is not None and own_early is not None and own_late is not None
        less, more = own_early < early, own_late > late
        verdict = (
            "both are seen"
            if less and more
            else "the first is seen"
            if less
            else "the second is seen"
            if more
            else "neither is seen"
        )
        said.append(
            f"- {title}: blocks 1 to 5 {own_early:.1f} % against `{LOCAL}`'s {early:.1f} %, the last five before the "
            f"logits {own_late:.1f} % against {late:.1f} %: {verdict}."
        )
    return "\n".join(said)


def likeness() -> str:
    """Whether similarity with back-propagation rises.

    Returns:
        A sentence for each method.
    """
    rows = _rows()
    if not rows.get(LOCAL, {}).get(SIMILARITY):
        return "Not measured yet."
    base = rows[LOCAL][SIMILARITY]["mean"]
    return "\n".join(
        f"- {title}: mean CKA {rows[name][SIMILARITY]['mean']:.3f} against `{LOCAL}`'s {base:.3f}: it "
        f"{'rises' if rows[name][SIMILARITY]['mean'] > base else 'does not rise'}."
        for name, title in AHEAD.items()
        if rows.get(name, {}).get(SIMILARITY)
    )


def foresight() -> str:
    """How near the gradients of inner blocks are to back-propagation's.

    Returns:
        A sentence.
    """
    rows = {name: row for name, row in _rows().items() if row["agreement"] and name != REFERENCE}
    if not rows:
        return "Not measured yet."
    last = {name: inner_mean(row["agreement"]["mean"][-1]) or 0.0 for name, row in rows.items()}
    order = sorted(last, key=lambda name: -last[name])
    return (
        "At the last step, from the most far-sighted: "
        + ", ".join(f"`{name}` {last[name]:.3f}" for name in order)
        + "."
    )
