"""Predict throughput and memory on many workers: local learning beside GPipe, 1F1B and data parallelism."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.flags import Json, RecipeName, parsed_with_recipe, recipe_word
from locallearn.cli.pictures import Overwrite, check_picture
from locallearn.cli.tables import print_rows
from locallearn.errors import InputError, listed
from locallearn.recipes import Recipe, load

if TYPE_CHECKING:
    from locallearn.simulation.prediction import Prediction
    from locallearn.simulation.workload import Workload

DEFAULT = "digits"


@dataclass(frozen=True, kw_only=True)
class Simulate:
    """Measure what each block of a recipe costs, and predict what many workers would make of it. Needs no data.

    Args:
        workers: Numbers of workers.
        bandwidth: Of every link between workers, in Gb/s.
        latency: Of every link, in seconds.
        micro_batches: Parts that GPipe and 1F1B may cut a batch into; the fastest number is taken, and a part takes its
            share of the batch's time, which flatters them.
        queue: Outputs that may be under way between two workers of local learning, and as many again that wait.
        return_every: Steps between two messages of the parameters that MAN copies.
        stages: Stages of a pipeline; None takes the fastest number for each number of workers.
        memory: What a worker has, as in 8GiB; slower pipelines that fit are taken.
        costs: JSON file with the costs of blocks, instead of measuring them: batch_size and blocks, as --json gives.
        repeats: Steps to measure.
        out: Picture to draw, as .png, .svg or .pdf.
    """

    recipe: RecipeName = DEFAULT
    workers: tuple[int, ...] = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    bandwidth: float = 10.0
    latency: float = 1e-5
    micro_batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    queue: int = 2
    return_every: int = 1
    stages: int | None = None
    memory: str | None = None
    costs: Path | None = None
    repeats: int = 5
    out: Path | None = None
    overwrite: Overwrite = False
    json: Json = False


def resolve(argv: Sequence[str]) -> tuple[Simulate, Recipe]:
    """What a command line asks to simulate.

    Args:
        argv: Words after `simulate`.

    Returns:
        The verb's own options, and the recipe with the flags laid over it.

    Raises:
        InputError: The recipe or a flag is refused.
    """
    word = recipe_word(argv)
    base = load(word or DEFAULT)
    options, recipe = parsed_with_recipe(Simulate, argv, base, verb="simulate", where=f"The recipe {word or DEFAULT!r}")
    if options.recipe != (word or DEFAULT):
        raise InputError(f"Name the recipe first: locallearn simulate {options.recipe} ...")
    check_picture("--out", options.out, overwrite=options.overwrite)
    least = {
        "workers": min(options.workers, default=0),
        "micro_batches": min(options.micro_batches, default=0),
        "queue": options.queue,
        "return_every": options.return_every,
        "repeats": options.repeats,
        "stages": 1 if options.stages is None else options.stages,
    }
    problems = [
        f"--{name.replace('_', '-')} must be at least 1, not {getattr(options, name)}."
        for name, value in least.items()
        if value < 1
    ]
    if options.costs is not None and (word is not None or recipe != base):
        problems.append("--costs says what blocks cost: leave out the recipe and its flags.")
    if problems:
        raise InputError(listed(problems))
    return options, recipe


def run(argv: Sequence[str]) -> int:
    """Measure, predict, and print the table.

    Args:
        argv: Words after `simulate`.

    Returns:
        The exit code.
    """
    options, recipe = resolve(argv)
    if options.costs is None:
        workload = _measured(recipe, options.repeats)
        title = f"{recipe.network.name}, {recipe.method.name} in {len(workload.blocks)} blocks"
    else:
        from locallearn.simulation.workload import workload_from

        workload = workload_from(options.costs)
        title = f"{options.costs.name}: {len(workload.blocks)} blocks"
    courses, alone = _courses(options, workload, state_copies=_state_copies(recipe))
    title += f", batch {workload.batch_size}; links of {options.bandwidth:g} Gb/s and {1e6 * options.latency:g} us"
    print(f"{title}\none worker's back-propagation: {alone.images_per_second:,.1f} images/s\n")
    print_rows([_row(name, each, alone) for name, course in courses.items() for each in course])
    if options.out is not None:
        from locallearn.simulation.plot import save_plot

        save_plot(courses, options.out, title=title, one_worker=alone.images_per_second)
        print(f"\ndrawn in {options.out}")
    if options.json:
        print(json.dumps(_told(courses, workload)))
    return 0


def _measured(recipe: Recipe, repeats: int) -> Workload:
    import torch

    from locallearn.precision import precision_context
    from locallearn.simulation.measure import measured
    from locallearn.training import optimizer as optimizers
    from locallearn.training.assembly import SMALLER, build_model, find_device, recipe_spec, without_weights
    from locallearn.training.out_of_memory import memory_explained

    device, spec = find_device(recipe.device), recipe_spec(recipe)
    with memory_explained("while steps were timed", remedy=SMALLER, device=device):
        model = build_model(without_weights(recipe), spec, device)
        optimizer = optimizers.build(model.parameter_groups(), recipe.training)
        inputs = torch.rand(recipe.training.batch_size, *spec.shape, device=device)
        targets = model.task.blank_targets(inputs)
        inputs = inputs.to(memory_format=torch.channels_last) if recipe.channels_last else inputs
        with precision_context(recipe.precision, device):
            return measured(
                model, list(inputs) if spec.by_lists else inputs, targets, optimizer=optimizer, repeats=repeats
            )


def _courses(
    options: Simulate, workload: Workload, *, state_copies: float
) -> tuple[dict[str, list[Prediction]], Prediction]:
    from locallearn.planning.fitting import parsed_bytes
    from locallearn.simulation.prediction import GPipe, LocalLearning, OneForwardOneBackward, predicted
    from locallearn.simulation.workload import Link

    common: dict[str, Any] = {
        "link": Link(options.bandwidth * 1e9 / 8, options.latency),
        "state_copies": state_copies,
        "memory": None if options.memory is None else parsed_bytes(options.memory),
    }
    whole = OneForwardOneBackward(1)
    sides = {
        "local learning": ([LocalLearning(options.queue, options.return_every)], options.stages),
        "1F1B": ([OneForwardOneBackward(count) for count in options.micro_batches], options.stages),
        "GPipe": ([GPipe(count) for count in options.micro_batches], options.stages),
        "data parallel": ([whole], 1),
    }
    courses = {
        name: [predicted(workload, schedules, count, stages=stages, **common) for count in sorted(options.workers)]
        for name, (schedules, stages) in sides.items()
    }
    return courses, predicted(workload, [whole], 1, stages=1, **common)


def _state_copies(recipe: Recipe) -> float:
    training = recipe.training
    return 4.0 if training.optimizer == "adamw" else 3.0 if training.momentum else 2.0


def _row(name: str, found: Prediction, alone: Prediction) -> dict[str, Any]:
    from locallearn.planning.fitting import written_bytes

    return {
        "schedule": name,
        "workers": found.workers,
        "micro-batches": found.micro_batches,
        "stages x replicas": f"{len(found.blocks)} x {found.replicas}",
        "images/s": f"{found.images_per_second:,.1f}",
        "of one worker": f"{found.images_per_second / alone.images_per_second:,.2f}",
        "waiting": f"{100 * found.bubble_fraction:.1f} %",
        "fullest worker": written_bytes(found.most_bytes),
    }


def _told(courses: dict[str, list[Prediction]], workload: Workload) -> dict[str, Any]:
    rows = [
        dataclasses.asdict(each)
        | {"schedule": name, "blocks": [len(run) for run in each.blocks], "stages": len(each.blocks)}
        for name, course in courses.items()
        for each in course
    ]
    return {"predictions": rows, "costs": json.loads(workload.json())}
