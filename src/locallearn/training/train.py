"""Train a recipe into a run folder."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from locallearn import atomic_file
from locallearn.datasets.batches import Part, key_seed
from locallearn.datasets.batching import closed_after
from locallearn.errors import InputError, TrainingStopped, listed
from locallearn.parallel.team import Team
from locallearn.recipes import checked, differences, dumped
from locallearn.training import checkpoint
from locallearn.training.assembly import assemble, fetch, without_weights
from locallearn.training.network_file import save_network
from locallearn.training.out_of_memory import IN_TRAINING, memory_explained
from locallearn.training.progress import Progress, Silent
from locallearn.training.random_state import determinism_explained, deterministic, seed_everything
from locallearn.training.run import Run
from locallearn.training.run_folder import RunFolder
from locallearn.training.stop_request import Interrupted, StopRequest
from locallearn.training.summary import Summary, results, versions

if TYPE_CHECKING:
    from locallearn.datasets.spec import DatasetSpec
    from locallearn.recipes.recipe import Recipe
    from locallearn.training.assembly import Assembly


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    fall_back: bool = False,
    progress: Progress | None = None,
    team: Team | None = None,
) -> Summary:
    """Train a network as a recipe says, and leave the results in a folder.

    The folder gets `recipe.toml`, `metrics.jsonl` (a line per epoch), `timings.jsonl`, `checkpoints/`, and at the end
    `network.safetensors` (the last epoch's network) and `summary.json`. A resumed run ends with the same bits in
    network and metrics as one that was never interrupted. SIGTERM and SIGINT (Ctrl-C) are answered at the next step:
    the state is saved and the process asked to exit with 143 or 130; a second signal ends it at once.

    Args:
        recipe: A complete run; `seeds` is the caller's affair.
        out: The folder, empty or absent unless `resume`.
        resume: Go on with the run in the folder.
        fall_back: With `resume`, set damaged checkpoints aside and go on from the newest sound one.
        progress: What to show; nothing if None.
        team: The processes that train together, every one of which must come here with the same recipe; see
            `parallel.team.joined`. This one alone if None.

    Returns:
        What is in `summary.json`.

    Raises:
        InputError: The recipe, the data or the folder cannot be used; nothing was trained.
        TrainingStopped: The run cannot go on: no number, no memory, no room on the disk, no deterministic form.
        SystemExit: A signal came, and the state is saved: code 143 after SIGTERM, 130 after SIGINT.
    """
    team = team or Team()
    begun_by = versions()
    folder = RunFolder(Path(out))
    check_same(recipe, team)
    team.shared(lambda: folder.check(recipe, resume=resume))
    progress = (team.leads and progress) or Silent()
    with StopRequest(patient=not team.is_alone) as stop, deterministic(recipe.deterministic):
        seed_everything(recipe.seed)
        newest = team.shared(lambda: checkpoint.latest(folder.checkpoints, fall_back=fall_back) if resume else None)
        parts = _assembled(without_weights(recipe) if newest else recipe, team)
        with closed_after(parts.train, parts.validation, parts.test):
            run = Run(recipe, parts, folder, progress, stop, team, _borders(newest, team))
            if team.rank:
                seed_everything(key_seed(recipe.seed, team.rank))
            team.shared(lambda: folder.open(recipe))
            team.shared(lambda: _cleaned(folder, newest))
            if newest is not None:
                run.restore(newest)
            elif resume:
                progress.note(f"{folder.checkpoints} holds no checkpoint; the run begins again.")
            _train(run, folder, progress)
            network = run.whole_network()
            run.trainer.close()
    return team.shared(lambda: _conclude(run, network, folder, progress, begun_by))


def check_same(recipe: Recipe, team: Team) -> None:
    """Refuse processes that do not mean the same run.

    Args:
        recipe: What this process is to train.
        team: All processes.

    Raises:
        InputError: Another process has another recipe; what differs is named.
    """
    if team.is_alone:
        return
    own = recipe.model_copy(update={"data": None, "device": "auto"})
    theirs = checked(tomllib.loads(team.shared(lambda: dumped(own))), where="The first process's recipe")
    problems = differences(theirs, own)

    def agree() -> None:
        if problems:
            raise InputError(f"its recipe is not the first one's; start all by the same command: {listed(problems)}")

    team.together(agree)


def _assembled(recipe: Recipe, team: Team) -> Assembly:
    if recipe.dataset.download and not team.is_alone:
        team.shared(lambda: fetch(recipe))
    return team.together(lambda: assemble(recipe, share=Part(team.replica, team.layout.replicas)))


def _borders(newest: Path | None, team: Team) -> list[int] | None:
    # Draws inside blocks belong to a process, so its blocks stay the same where there are as many processes.
    layout = team.shared(lambda: newest and checkpoint.load_part(newest, "layout"))
    return layout.get("borders") if layout and layout["blocks"] == team.layout.blocks else None


def _cleaned(folder: RunFolder, newest: Path | None) -> None:
    checkpoint.clean(folder.checkpoints)
    if newest is None:
        folder.metrics.truncate(0)
        folder.timings.truncate(0)


def _train(run: Run, folder: RunFolder, progress: Progress) -> None:
    recipe = run.recipe
    training = recipe.training
    if training.schedule.name == "warmup_cosine" and training.epochs <= training.schedule.warmup_epochs:
        progress.note(
            f"The learning rate never leaves its warm-up of {training.schedule.warmup_epochs} epochs in a run of "
            f"{training.epochs}; for short runs set --training.schedule.name cosine."
        )
    progress.begin(_described(run), done=run.step, steps=run.steps)
    try:
        activity = f"with batches of {recipe.training.batch_size}"
        explained = memory_explained(activity, remedy=IN_TRAINING, device=run.parts.device, model=run.model)
        with explained, determinism_explained():
            run.train()
    except Interrupted:
        run.save()
        progress.note(f"Stopped by a signal at step {run.step}. {folder.what_remains()} Go on with --resume.")
        raise SystemExit(run.stop.exit_code) from None
    except (TrainingStopped, InputError) as stopped:
        remains = folder.what_remains()
        raise TrainingStopped(f"{str(stopped).removesuffix(remains).rstrip()} {remains}") from stopped
    except OSError as error:
        raise _no_room(folder, error) from error
    finally:
        progress.end()


def _described(run: Run) -> str:
    recipe, blocks = run.recipe, len(run.model.partition.blocks)
    together = "" if run.team.is_alone else f", {run.team.layout.processes} processes ({run.team.layout})"
    return (
        f"{recipe.network.name} in {blocks} block{'s' if blocks > 1 else ''} on {recipe.dataset.name} by "
        f"{recipe.method.name}, {run.epochs} epochs, seed {recipe.seed}{together}"
    )


def _no_room(folder: RunFolder, error: OSError) -> TrainingStopped:
    return TrainingStopped(
        f"Results could not be written to {folder.path} ({error}). {folder.what_remains()} Make room, then resume."
    )


def _conclude(run: Run, network: nn.Module, folder: RunFolder, progress: Progress, begun_by: dict[str, str]) -> Summary:
    recipe, parts = run.recipe, run.parts
    try:
        save_network(network, folder.network, classes=parts.spec.classes, title=recipe.title)
        summary = Summary(
            title=recipe.title,
            run=str(folder.path),
            network=str(folder.network),
            seed=recipe.seed,
            epochs=run.epochs,
            steps=run.step,
            num_blocks=len(parts.model.partition.blocks),
            parameters=sum(parameter.numel() for parameter in network.parameters()),
            auxiliary_parameters=sum(parameter.numel() for parameter in parts.model.objectives.parameters()),
            parallel=str(run.team.layout),
            score=run.score,
            results=results(folder.metrics.records(), run.score),
            **_peaks(recipe, parts.spec, progress),
            versions=begun_by,
            notes=parts.notes,
        )
        atomic_file.write(folder.summary, summary.json().encode())
    except OSError as error:
        raise _no_room(folder, error) from error
    return summary


def _peaks(recipe: Recipe, spec: DatasetSpec, progress: Progress) -> dict[str, Any]:
    # The recipe's step and back-propagation's, in bytes; a count that fails costs no results.
    from locallearn.training.step_cost import step_cost

    backprop = recipe.model_copy(update={"method": type(recipe.method)(name="backprop")})
    peaks: dict[str, Any] = {}
    for name, counted in (("peak_bytes", recipe), ("backprop_peak_bytes", backprop)):
        try:
            peaks[name] = step_cost(counted, spec).peak_bytes
        except Exception as error:  # any operator may lack the shape-only form that counting needs
            progress.note(f"{name} could not be counted: {error}")
            peaks[name] = None
    return peaks
