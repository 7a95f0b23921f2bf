"""What analyses found of the runs, from the files they left beside them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Any

from locallearn.analysis import TrainedRun
from locallearn.analysis.stored import FOLDER, stored
from locallearn.plotting.over_depth import over_depth
from locallearn.reporting.document import MISSING, Chart, Gap, Note, Part, Row, Section, Source, Table
from locallearn.reporting.subjects import Chapter, Subject

Record = Mapping[str, Any]
Values = Sequence[float | None]
Found = Mapping[TrainedRun, Mapping[str, Record]]
TRANSFER, SIMILARITY = "transfer-", "similarity-with-"


@dataclass(frozen=True)
class Kind:
    """An analysis that leaves a value for every block.

    Args:
        name: Of its file.
        title: Of its section.
        read: Takes the values, one for each block, and their deviations, if any, out of the file.
        value: What the values are, with their unit.
        verb: What makes the file: the verb, and what stands before the run.
        key: Which part of the file is shown.
    """

    name: str
    title: str
    read: Callable[[Record], tuple[Values, Values]]
    value: str
    verb: str
    key: str


def _of_probe(record: Record) -> tuple[Values, Values]:
    return record["accuracy"], record.get("deviation") or []


def _of_exits(record: Record) -> tuple[Values, Values]:
    # Of several heads at a block the one that is in the ensemble.
    exits = record["exits"]
    chosen = {place["block"]: place["accuracy"] for place in exits if place["ensemble_macs"] is not None}
    return [chosen.get(block) for block in range(1, max(place["block"] for place in exits) + 1)], []


def _of_agreement(record: Record) -> tuple[Values, Values]:
    return record["mean"][-1], record["deviation"][-1]


def _of_similarity(record: Record) -> tuple[Values, Values]:
    return record["curve"], []


KINDS = (
    Kind("probe", "Linear separability of features", _of_probe, "accuracy of a linear probe (%)", "probe", "accuracy"),
    Kind("exits", "Stopping after a block", _of_exits, "test accuracy of the exit (%)", "exits", "exits"),
    Kind(
        "agreement",
        "Agreement with back-propagation's gradients",
        _of_agreement,
        "cosine, last checkpoint",
        "agreement",
        "mean",
    ),
)


def findings(chapter: Chapter) -> Section:
    """Everything that was looked into, and what was not.

    Args:
        chapter: What is compared.

    Returns:
        A section for each analysis.
    """
    if chapter.runs[0].spec.task != "classification":
        return Section("What the blocks learned", (Note("The analyses look into runs of classification alone."),))
    found = {run: stored(run) for run in chapter.runs}
    sections = [_over_blocks(chapter, found, kind) for kind in KINDS]
    sections[1:1] = _similarities(chapter, found)
    return Section("What the blocks learned", (), (*sections, *_transfers(chapter, found)))


def _over_blocks(chapter: Chapter, found: Found, kind: Kind) -> Section:
    curves: dict[str, Values] = {}
    spreads: dict[str, Values] = {}
    sources: dict[str, tuple[Source, ...]] = {}
    for subject in chapter.subjects:
        read = {run: values for run in subject.runs if (values := _read(found[run].get(kind.name), kind)) is not None}
        if read:
            curves[subject.label], spreads[subject.label] = _over_seeds(list(read.values()))
            sources[subject.label] = tuple(
                Source(str(run.path), f"{FOLDER}/{kind.name}.json", kind.key) for run in read
            )
    parts: list[Part] = _curve_parts(curves, spreads, sources, kind) if curves else []
    damaged = [run for run in chapter.runs if kind.name in found[run] and _read(found[run][kind.name], kind) is None]
    lacking = [run for run in chapter.runs if kind.name not in found[run]]
    if damaged:
        parts.append(Gap(f"{FOLDER}/{kind.name}.json lacks what is shown here", _commands(kind, damaged)))
    if lacking and not kind.name.startswith(SIMILARITY):
        parts.append(_gap(_commands(kind, lacking), whole=not curves))
    return Section(kind.title, tuple(parts))


def _read(record: Record | None, kind: Kind) -> tuple[Values, Values] | None:
    """The values, or None where there is no record, or one that another version wrote."""
    try:
        return None if record is None else kind.read(record)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _commands(kind: Kind, runs: Sequence[TrainedRun]) -> tuple[str, ...]:
    return tuple(f"locallearn {kind.verb} {run.path}" for run in runs)


def _over_seeds(found: Sequence[tuple[Values, Values]]) -> tuple[Values, Values]:
    """Means and deviations over seeds; of one run its own."""
    if len(found) == 1:
        return found[0]
    columns = [[v for v in column if v is not None] for column in zip_longest(*(values for values, _ in found))]
    means = [statistics.fmean(column) if column else None for column in columns]
    return means, [statistics.stdev(column) if len(column) > 1 else 0.0 for column in columns]


def _similarities(chapter: Chapter, found: Found) -> list[Section]:
    names = sorted({name for records in found.values() for name in records if name.startswith(SIMILARITY)})
    title = "Similarity of features to those of {} (CKA)"
    sections = []
    for name in names:
        other = name.removeprefix(SIMILARITY)
        kind = Kind(name, title.format(other), _of_similarity, "CKA", f"similarity {other}", "curve")
        sections.append(_over_blocks(chapter, found, kind))
    if sections:
        return sections
    reference = next((s.runs[0] for s in chapter.subjects if s.recipe.method.name == "backprop"), None)
    beside = "REFERENCE" if reference is None else str(reference.path)
    commands = [f"locallearn similarity {beside} {run.path}" for run in chapter.runs if run is not reference]
    return [
        Section(
            "Similarity of features (CKA)", (_gap(commands or [f"locallearn similarity {beside} OTHER"], whole=True),)
        )
    ]


def _transfers(chapter: Chapter, found: Found) -> list[Section]:
    rows = []
    for subject in chapter.subjects:
        for run in subject.runs:
            for name, record in found[run].items():
                if name.startswith(TRANSFER):
                    rows.append(_transfer_row(subject, run, name, record))
    if not rows:
        return []
    columns = ("run", "tested on", "classes mapped by", "accuracy (%)", "accuracy, raw labels (%)", "images")
    return [Section("Other data", (Table(columns, tuple(rows), "Networks tested on another data set"),))]


def _transfer_row(subject: Subject, run: TrainedRun, name: str, record: Mapping[str, Any]) -> Row:
    cells = (
        f"{subject.label}, seed {run.recipe.seed}" if len(subject.runs) > 1 else subject.label,
        name.removeprefix(TRANSFER),
        str(record.get("mapped_by", MISSING)),
        _number(record.get("mapped_accuracy")),
        _number(record.get("raw_accuracy")),
        str(record.get("images", MISSING)),
    )
    return Row(cells, (Source(str(run.path), f"{FOLDER}/{name}.json", "mapped_accuracy, raw_accuracy"),))


def _curve_parts(
    curves: Mapping[str, Values],
    spreads: Mapping[str, Values],
    sources: Mapping[str, tuple[Source, ...]],
    kind: Kind,
) -> list[Part]:
    places = {label: _places(len(values)) for label, values in curves.items()}
    alt = "; ".join(
        f"{label}: " + ", ".join(f"block {place + 1} {_number(curves[label][place])}" for place in places[label])
        for label in curves
    )
    whole = {label: [value or 0.0 for value in values] for label, values in spreads.items() if values}
    draw = partial(over_depth, curves, title=kind.title, value=kind.value, spreads=whole)
    everything = tuple(dict.fromkeys(source for each in sources.values() for source in each))
    columns = ("run", "first block", "a quarter in", "half-way", "three quarters in", "last block", "mean")
    rows = tuple(_depth_row(label, values, sources[label]) for label, values in curves.items())
    return [
        Chart(kind.title, f"Lines over blocks. {alt}.", draw, everything),
        Table(columns, rows, kind.value),
    ]


def _depth_row(label: str, values: Values, sources: tuple[Source, ...]) -> Row:
    known = [value for value in values if value is not None]
    cells = [_number(values[place]) for place in _places(len(values))]
    return Row((label, *cells, _number(statistics.fmean(known) if known else None)), sources)


def _places(count: int) -> list[int]:
    return [round(part * (count - 1) / 4) for part in range(5)]


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _gap(commands: Sequence[str], *, whole: bool) -> Gap:
    return Gap("Not looked at" if whole else "Not looked at in some runs", tuple(commands))
