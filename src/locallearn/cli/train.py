"""Train the network of a recipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from locallearn.cli import runs
from locallearn.cli.flags import Json, RecipeName, last_value, parsed_with_recipe, recipe_word, with_resumed_folder
from locallearn.errors import InputError, listed
from locallearn.recipes import Recipe, differences, load
from locallearn.recipes.stored import RECIPE

if TYPE_CHECKING:
    from locallearn.training import Summary

DEFAULT = "digits"


@dataclass(frozen=True, kw_only=True)
class Train:
    """Train the network of a recipe; flags change the recipe.

    Args:
        out: Folder of the run; none makes runs/RECIPE-METHOD-seedSEED.
        resume: Folder of a run to go on with, by the recipe stored there; without a value the folder given by --out.
        fall_back: With --resume, set damaged checkpoints aside and go on from the newest sound one.
        or_resume: Go on with the run in --out if there is one, else begin it: for jobs that are queued again.
        parallel: How the processes that torchrun started share the run, such as blocks=2,data=2; none divides batches.
    """

    recipe: RecipeName = DEFAULT
    out: Path | None = None
    resume: Path | None = None
    fall_back: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    or_resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    parallel: str | None = None
    json: Json = False


def resolve(argv: Sequence[str]) -> tuple[Train, Recipe]:
    """What a command line asks to train.

    Args:
        argv: Words after `train`.

    Returns:
        The verb's own options, and the recipe with the flags laid over it.

    Raises:
        InputError: The recipe, a flag or the folder to resume is refused.
    """
    argv = with_resumed_folder(argv, verb="train")
    word, resumed = recipe_word(argv), last_value(argv, "--resume")
    stored = runs.stored_recipe(Path(resumed)) if resumed is not None else None
    base = stored if stored is not None and word is None else load(word or DEFAULT)
    where = f"The run {resumed!r}" if stored is not None and word is None else f"The recipe {word or DEFAULT!r}"
    options, recipe = parsed_with_recipe(Train, argv, base, verb="train", where=where)
    if options.recipe != (word or DEFAULT):
        raise InputError(f"Name the recipe first: locallearn train {options.recipe} ...")
    if options.fall_back and options.resume is None:
        raise InputError("--fall-back is for --resume: a new run has no checkpoints.")
    if options.or_resume and options.out is None:
        raise InputError(
            "--or-resume needs the folder of the run: locallearn train RECIPE --or-resume --out runs/NAME."
        )
    if stored is not None and options.resume is not None:
        _refuse_changes(stored, recipe, options.resume, options.out)
    return options, recipe


def run(argv: Sequence[str]) -> int:
    """Train, and print what came of it.

    Args:
        argv: Words after `train`.

    Returns:
        The exit code.
    """
    options, recipe = resolve(argv)
    from locallearn.parallel.team import joined
    from locallearn.training import for_stream, train_seeds

    with joined(options.parallel, device=recipe.device, timeout=recipe.distributed.timeout) as team:
        asked = (options.resume is not None, options.or_resume, options.fall_back)
        team.check_alike("the number of seeds", str(recipe.seeds))
        team.check_alike("(--resume, --or-resume, --fall-back)", str(asked))
        out = Path(team.shared(lambda: team.kept("out", lambda: str(_folder(options, recipe)))))
        if team.leads:
            print(f"{options.recipe} -> {out}", file=sys.stderr)
        again = options.or_resume or team.began_again
        resume = options.resume is not None or (again and team.shared((out / RECIPE).is_file))
        with runs.stoppable("train", out, RECIPE, told=team.leads):
            going_on = {"resume": resume, "fall_back": options.fall_back}
            summaries = train_seeds(recipe, out, progress=for_stream, team=team, **going_on)
        if team.leads:
            _tell(options, recipe, summaries, out)
    return 0


def _folder(options: Train, recipe: Recipe) -> Path:
    if options.or_resume and options.out is not None and (options.out / RECIPE).is_file():
        return options.out
    return options.resume or runs.new_folder(options.out, options.recipe, recipe)


def _tell(options: Train, recipe: Recipe, summaries: Sequence[Summary], out: Path) -> None:
    results = [runs.result(summary) for summary in summaries]
    total = results[0] if recipe.seeds == 1 else runs.over_seeds(results, out)
    runs.print_result(total)
    if options.json:
        print(json.dumps(total))


def _refuse_changes(stored: Recipe, recipe: Recipe, resumed: Path, out: Path | None) -> None:
    if out is not None and out.resolve() != resumed.resolve():
        raise InputError(f"--resume {resumed} goes on in that folder: leave --out {out} out.")
    if changed := differences(stored, recipe):
        raise InputError(
            f"{str(resumed)!r} was started by another recipe; resume it without these flags, or start a new run: "
            f"{listed(changed)}"
        )
