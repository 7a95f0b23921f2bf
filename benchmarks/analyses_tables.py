"""What the documents say of the analyses, from `results/analyses.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import fmean
from typing import Any

from benchmarks.analyses import REFERENCE
from benchmarks.over_seeds import Rows, by_name, written
from benchmarks.result_files import measured, result

from locallearn.analysis.gradient_agreement import inner_mean
from locallearn.benchmarking.table import markdown

SIMILARITY = f"similarity-with-{REFERENCE}"
LOCAL = "dgl"
"""Beside which the methods that look ahead are held."""
AHEAD = {"dgl+man": "MAN", "mlaan": "MLAAN", "auglocal": "AugLocal"}


HALVES = {"dgl+man-averaging": "MAN's averaging alone", "dgl+man-bias": "MAN's bias alone"}
Reading = Callable[[dict[str, Any]], float | None]


def _rows() -> Rows:
    return by_name(result("analyses")["rows"]) if measured("analyses") else {}


def runs() -> str:
    """The runs, and one number of each analysis.

    Returns:
        Markdown.
    """
    rows = _rows()
    if not rows:
        return "Not measured yet."
    found = result("analyses")
    one = rows[LOCAL][0]
    seeds = sorted({len(each) for each in rows.values()})
    counted = f"{seeds[0]} seed{'' if seeds[0] == 1 else 's'}" if len(seeds) == 1 else "as many seeds as shown"
    head = (
        f"ResNet-32 in {one['num_blocks']} blocks, CIFAR-10, {one['steps']} steps of batch {one['batch_size']}, "
        f"{one['precision']}, {counted} (mean ± deviation), torch {found['versions']['torch']}, collected at commit "
        f"{found['commit']}. So short a run shows how methods begin to learn, not where they end."
    )
    columns = ["run", "seeds", *COLUMNS]
    cells = [
        [f"`{name}`", str(len(each)), *(written([read(row) for row in each], p) for read, p in COLUMNS.values())]
        for name, each in rows.items()
    ]
    return f"{head}\n\n{markdown(columns, cells)}"


def early(row: dict[str, Any]) -> float | None:
    """How separable early blocks are.

    Args:
        row: Of `results/analyses.json`.

    Returns:
        Mean accuracy of the probe over the first five blocks, in percent.
    """
    return fmean(row["probe"]["accuracy"][:5]) if row["probe"] else None


def late(row: dict[str, Any]) -> float | None:
    """How separable late blocks are.

    Args:
        row: Of `results/analyses.json`.

    Returns:
        The same over the five blocks before the last one, whose features are the logits.
    """
    return fmean(row["probe"]["accuracy"][-6:-1]) if row["probe"] else None


def likeness_of(row: dict[str, Any]) -> float | None:
    """How like back-propagation's the features are.

    Args:
        row: Of `results/analyses.json`.

    Returns:
        Mean CKA over the blocks.
    """
    return row[SIMILARITY]["mean"] if row[SIMILARITY] else None


def early_likeness(row: dict[str, Any]) -> float | None:
    """The same over the first five blocks.

    Args:
        row: Of `results/analyses.json`.

    Returns:
        Mean CKA.
    """
    return fmean(row[SIMILARITY]["curve"][:5]) if row[SIMILARITY] else None


def late_likeness(row: dict[str, Any]) -> float | None:
    """The same over the five blocks before the last one.

    Args:
        row: Of `results/analyses.json`.

    Returns:
        Mean CKA.
    """
    return fmean(row[SIMILARITY]["curve"][-6:-1]) if row[SIMILARITY] else None


def _cosine(place: int) -> Reading:
    return lambda row: inner_mean(row["agreement"]["mean"][place]) if row["agreement"] else None


COLUMNS: dict[str, tuple[Reading, int]] = {
    "test accuracy": (lambda row: row["test_accuracy"], 2),
    "probe, blocks 1 to 5": (early, 1),
    "probe, last 5 blocks": (late, 1),
    "mean CKA": (likeness_of, 3),
    "mean cosine, first": (_cosine(0), 3),
    "last": (_cosine(-1), 3),
}
"""What a table shows of a run, and with how many digits."""


def _beside_local(name: str, read: Reading, *, more: bool) -> tuple[str, str, int, int]:
    """Both means, in how many seeds a method's value lies above (or below) the local baseline's, and of how many."""
    rows = _rows()
    base = {row["seed"]: read(row) for row in rows[LOCAL]}
    pairs = [(own, base[row["seed"]]) for row in rows[name] if row["seed"] in base and (own := read(row)) is not None]
    known = [(own, other) for own, other in pairs if other is not None]
    seen = sum(own > other if more else own < other for own, other in known)
    mean = [fmean(column) for column in zip(*known, strict=True)]
    digits = 1 if read in (early, late) else 3
    return f"{mean[0]:.{digits}f}", f"{mean[1]:.{digits}f}", seen, len(known)


def _looked_at(read: Reading, among: Iterable[str]) -> list[str]:
    """Methods of which there is a value beside the baseline's of the same seed."""
    rows = _rows()
    base = {row["seed"] for row in rows.get(LOCAL, ()) if read(row) is not None}
    return [n for n in among if any(row["seed"] in base and read(row) is not None for row in rows.get(n, ()))]


def _verdict(seen: int, count: int) -> str:
    if seen in (0, count):
        return "seen" if seen else "not seen"
    return f"seen with {seen} of {count} seeds"


def separability() -> str:
    """Whether early blocks are less separable and late ones more, as MAN's and MLAAN's papers show it.

    Returns:
        A sentence for each method.
    """
    said = []
    for name in _looked_at(early, AHEAD):
        first, base_first, less, count = _beside_local(name, early, more=False)
        last, base_last, more, _ = _beside_local(name, late, more=True)
        said.append(
            f"- {AHEAD[name]}: early ones less: {_verdict(less, count)} (blocks 1 to 5 {first} % against `{LOCAL}`'s "
            f"{base_first} %). Later ones more: {_verdict(more, count)} (the last five before the logits {last} % "
            f"against {base_last} %)."
        )
    return "\n".join(said) or "Not measured yet."


def likeness() -> str:
    """Whether similarity with back-propagation rises.

    Returns:
        A sentence for each method.
    """
    titles = {"dgl+man": "MAN"} | HALVES | AHEAD
    said = []
    for name in _looked_at(likeness_of, titles):
        own, base, seen, count = _beside_local(name, likeness_of, more=True)
        parts = [_beside_local(name, read, more=True)[:2] for read in (early_likeness, late_likeness)]
        said.append(
            f"- {titles[name]}: {_verdict(seen, count)} (mean CKA {own} against `{LOCAL}`'s {base}; blocks 1 to 5 "
            f"{' against '.join(parts[0])}, the last five before the logits {' against '.join(parts[1])})."
        )
    return "\n".join(said) or "Not measured yet."


def foresight() -> str:
    """How near the gradients of inner blocks are to back-propagation's.

    Returns:
        A sentence.
    """
    read = _cosine(-1)
    found = {name: [read(row) for row in rows if read(row) is not None] for name, rows in _rows().items()}
    last = {name: fmean(values) for name, values in found.items() if values and name != REFERENCE}
    if not last:
        return "Not measured yet."
    order = sorted(last, key=lambda name: -last[name])
    told = ", ".join(f"`{name}` {last[name]:.3f}" for name in order)
    return f"At the last step, from the most far-sighted: {told}."
