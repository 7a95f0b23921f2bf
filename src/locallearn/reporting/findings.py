"""What analyses found of the runs, from the files they left beside them."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from locallearn.analysis import TrainedRun
from locallearn.analysis.early_exits import in_ensemble
from locallearn.analysis.stored import FOLDER, reference_of, stored
from locallearn.errors import command
from locallearn.plotting.over_depth import over_depth
from locallearn.recipes import load
from locallearn.recipes.stored import RECIPE
from locallearn.reporting.document import MISSING, Chart, Gap, Note, Part, Row, Section, Source, Table
from locallearn.reporting.subjects import Chapter, Subject, learned

Record = Mapping[str, Any]
Values = Sequence[float | None]
Found = Mapping[TrainedRun, Mapping[str, Record]]
Looked = Mapping[TrainedRun, tuple[str, Record]]
"""For each run that was looked into the name of the file and what it holds."""
TRANSFER, SIMILARITY = "transfer-", "similarity-with-"
QUARTERS = ("first block", "a quarter in", "half-way", "three quarters in", "last block")
UNTOLD = ("reference", "step", "steps")
"""Settings that say of which run or step something is, not how it was looked at."""


@dataclass(frozen=True)
class Kind:
    """An analysis that leaves a value for every block.

    Args:
        verb: What makes it.
        title: Of its section.
        read: Takes the values, one for each block, and their deviations, if any, out of the file.
        key: Which part of the file is shown.
        value: What the values are, with their unit.
        spread: What the deviations of one run are over; nothing if there are none.
        ends: Blocks at the end that the mean leaves out.
    """

    verb: str
    title: str
    read: Callable[[Record], tuple[Values, Values]]
    key: str
    value: str
    spread: str = ""
    ends: int = 0


def _of_probe(record: Record) -> tuple[Values, Values]:
    return record["accuracy"], record.get("deviation") or []


def _of_exits(record: Record) -> tuple[Values, Values]:
    exits = record["exits"]
    chosen = {place["block"]: place["accuracy"] for place in in_ensemble(exits)}
    return [chosen.get(block) for block in range(1, max(place["block"] for place in exits) + 1)], []


def _of_agreement(record: Record) -> tuple[Values, Values]:
    return record["mean"][-1], record["deviation"][-1]


def _of_similarity(record: Record) -> tuple[Values, Values]:
    return record["curve"], []


KINDS = (
    Kind(
        "probe",
        "Linear separability of features",
        _of_probe,
        "accuracy",
        "accuracy of a linear probe (%)",
        "draws of training images",
    ),
    Kind("exits", "Stopping after a block", _of_exits, "exits", "test accuracy of the exit (%)"),
    Kind(
        "agreement",
        "Agreement with back-propagation's gradients",
        _of_agreement,
        "mean",
        "cosine, last checkpoint",
        "batches",
        ends=1,
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
    sections = []
    for kind in KINDS:
        looked = {run: (kind.verb, records[kind.verb]) for run, records in found.items() if kind.verb in records}
        lacking = [command(kind.verb, run.path) for run in chapter.runs if run not in looked]
        sections.append(_section(chapter, kind, looked, lacking, lambda run, verb=kind.verb: command(verb, run.path)))
    sections[1:1] = _similarities(chapter, found)
    return Section("What the blocks learned", (), (*sections, *_transfers(chapter, found)))


def _section(
    chapter: Chapter, kind: Kind, looked: Looked, lacking: Sequence[str], remade: Callable[[TrainedRun], str]
) -> Section:
    """One analysis: its curves, how they came about, and what is missing, damaged or older than the run."""
    shown: dict[str, tuple[list[TrainedRun], Values, Values]] = {}
    for subject in chapter.subjects:
        read = {run: values for run in subject.runs if (values := _read(looked.get(run), kind, run)) is not None}
        if read:
            shown[subject.label] = (list(read), *_over_seeds(list(read.values())))
    parts: list[Part] = _curve_parts(shown, kind, looked) if shown else []
    passed_by = [remade(run) for run in looked if _read(looked[run], kind, run) is None]
    if passed_by:
        parts.append(Gap("Files that lack what is shown here, or are older than the end of the run", tuple(passed_by)))
    if lacking:
        parts.append(Gap("Not looked at in some runs" if shown else "Not looked at", tuple(lacking)))
    return Section(kind.title, tuple(parts))


def _read(looked: tuple[str, Record] | None, kind: Kind, run: TrainedRun) -> tuple[Values, Values] | None:
    """The values, or None where there is no record, or one of another version or of an earlier step."""
    if looked is None:
        return None
    _, record = looked
    try:
        values, deviations = kind.read(record)
        step = record["steps"][-1] if "steps" in record else record.get("settings", {}).get("step")
        numbers = all(value is None or isinstance(value, int | float) for value in (*values, *deviations))
        older = step is not None and run.is_finished and step != (run.summary or {}).get("steps")
    except (KeyError, IndexError, TypeError, ValueError):
        return None
    return (values, deviations) if values and numbers and not older else None


def _over_seeds(found: Sequence[tuple[Values, Values]]) -> tuple[Values, Values]:
    """Means and deviations over seeds; of one run its own."""
    if len(found) == 1:
        return found[0]
    columns = [[v for v in column if v is not None] for column in zip_longest(*(values for values, _ in found))]
    means = [statistics.fmean(column) if column else None for column in columns]
    return means, [statistics.stdev(column) if len(column) > 1 else None for column in columns]


def _similarities(chapter: Chapter, found: Found) -> list[Section]:
    """A section for each reference; seeds of one setting are one, and every run may have the one of its own seed."""
    groups: dict[str, dict[TrainedRun, tuple[str, Record]]] = {}
    for run, records in found.items():
        for name, record in records.items():
            if name.startswith(SIMILARITY):
                groups.setdefault(_setting_of(reference_of(run, record)), {})[run] = (name, record)
    own = {subject.label: learned(subject.recipe) for subject in chapter.subjects}
    sections = []
    for setting, looked in groups.items():
        paths = {run: reference_of(run, record) for run, (_, record) in looked.items()}
        beside = {run.recipe.seed: os.path.relpath(path) for run, path in paths.items() if path is not None}
        told = next((label for label, values in own.items() if values == setting), min(beside.values(), default="?"))
        kind = Kind("similarity", f"Similarity of features to those of {told} (CKA)", _of_similarity, "curve", "CKA")
        again = partial(_compared, beside)
        others = [run for run in chapter.runs if run not in looked and learned(run.recipe) != setting]
        sections.append(_section(chapter, kind, looked, [again(run) for run in others], again))
    if sections:
        return sections
    first = next((s.runs[0] for s in chapter.subjects if s.recipe.method.name == "backprop"), None)
    beside = {} if first is None else {first.recipe.seed: str(first.path)}
    commands = tuple(_compared(beside, run) for run in chapter.runs if run is not first)
    return [Section("Similarity of features (CKA)", (Gap("Not looked at", commands or (_compared(beside, None),)),))]


def _setting_of(reference: Path | None) -> str:
    """What a reference learned by; of one that is no longer there its path."""
    there = reference is not None and (reference / RECIPE).is_file()
    return learned(load(reference / RECIPE)) if reference is not None and there else str(reference)


def _compared(references: Mapping[int, str], run: TrainedRun | None) -> str:
    """The command for a run: with the reference of its seed, or else with any."""
    fallback = next(iter(references.values()), "REFERENCE")
    reference = fallback if run is None else references.get(run.recipe.seed, fallback)
    return command("similarity", reference, "OTHER" if run is None else run.path)


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
    shown: Mapping[str, tuple[Sequence[TrainedRun], Values, Values]], kind: Kind, looked: Looked
) -> list[Part]:
    sources = {
        label: tuple(Source(str(run.path), f"{FOLDER}/{looked[run][0]}.json", kind.key) for run in runs)
        for label, (runs, _, _) in shown.items()
    }
    curves = {label: values for label, (_, values, _) in shown.items()}
    spreads = {label: spread for label, (_, _, spread) in shown.items() if any(each is not None for each in spread)}
    alt = "; ".join(
        f"{label}: " + ", ".join(f"block {place + 1} {_number(values[place])}" for place in _places(len(values)))
        for label, values in curves.items()
    )
    draw = partial(over_depth, curves, title=kind.title, value=kind.value, spreads=spreads)
    everything = tuple(dict.fromkeys(source for each in sources.values() for source in each))
    counts = {len(values) for values in curves.values()}
    heads = tuple(f"block {place + 1}" for place in _places(*counts)) if len(counts) == 1 else QUARTERS
    mean = "mean but the last" if kind.ends else "mean"
    rows = tuple(
        Row((label, *_cells(values, spreads.get(label, ()), len(heads)), _mean(values, kind)), sources[label])
        for label, values in curves.items()
    )
    return [
        Chart(kind.title, f"Lines over blocks. {alt}.", draw, everything),
        Table(("run", *heads, mean), rows, kind.value),
        Note(
            " ".join([*_how_looked({label: runs for label, (runs, *_) in shown.items()}, looked), *_bars(shown, kind)])
        ),
    ]


def _cells(values: Values, spread: Sequence[float | None], count: int) -> list[str]:
    # Where runs have other numbers of blocks each has its own quarters.
    places = _places(len(values)) if count == len(_places(len(values))) else _quarters(len(values))
    known = {place: each for place, each in enumerate(spread) if each is not None}
    return [_number(values[p]) + (f" ± {known[p]:.2g}" if p in known and values[p] is not None else "") for p in places]


def _mean(values: Values, kind: Kind) -> str:
    known = [value for value in values[: len(values) - kind.ends] if value is not None]
    return _number(statistics.fmean(known) if known else None)


def _how_looked(shown: Mapping[str, Sequence[TrainedRun]], looked: Looked) -> list[str]:
    """With which settings; where they differ, each run's."""
    told = {label: "; ".join(dict.fromkeys(_settings(looked[run][1]) for run in runs)) for label, runs in shown.items()}
    if len(set(told.values())) == 1:
        common = next(iter(told.values()))
        return [f"Looked at with {common}."] if common else []
    each = "; ".join(f"{label}: {words or 'settings not told'}" for label, words in told.items())
    return [f"Looked at differently, so compare with care: {each}."]


def _settings(record: Record) -> str:
    told = {key: value for key, value in record.get("settings", {}).items() if key not in UNTOLD}
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in told.items())


def _bars(shown: Mapping[str, tuple[Sequence[TrainedRun], Values, Values]], kind: Kind) -> list[str]:
    """What error bars are over."""
    known = [runs for runs, _, spread in shown.values() if any(each is not None for each in spread)]
    over = sorted({"seeds" if len(runs) > 1 else kind.spread for runs in known})
    return [f"± is the deviation over {' or '.join(over)}."] if over else []


def _places(count: int) -> list[int]:
    return list(dict.fromkeys(_quarters(count))) if count > len(QUARTERS) else list(range(count))


def _quarters(count: int) -> list[int]:
    return [round(part * (count - 1) / 4) for part in range(5)]


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"
