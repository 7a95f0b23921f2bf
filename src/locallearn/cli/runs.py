"""Run folders as the verbs see them: where a run goes, what it was started by, and what came of it."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.cli.tables import print_rows
from locallearn.errors import InputError
from locallearn.recipes import Recipe, load
from locallearn.recipes.stored import RECIPE

if TYPE_CHECKING:
    from locallearn.training import Summary


def stored_recipe(run: Path) -> Recipe:
    """The recipe a run was started by.

    Args:
        run: Folder of the run.

    Returns:
        Its recipe.

    Raises:
        InputError: The folder holds no run.
    """
    if not (run / RECIPE).is_file():
        raise InputError(f"{str(run)!r} holds no run ({RECIPE} is missing): give the folder that training wrote.")
    return load(run / RECIPE)


def new_folder(out: Path | None, name: str, recipe: Recipe, *, label: str | None = None) -> Path:
    """The folder of a new run; nothing is written yet.

    Args:
        out: The folder asked for; none takes the first free one of `runs/RECIPE-LABEL-seedSEED`, `...-2`, `...-3`.
        name: Name or path of the recipe.
        recipe: The recipe.
        label: What tells runs of the same recipe apart; none takes the method's name.

    Returns:
        A path where there is nothing, or an empty folder.

    Raises:
        InputError: The folder asked for holds something.
    """
    if out is None:
        plain_name = Path(name).name.removesuffix(".toml")
        out = first_free(Path("runs") / f"{plain_name}-{label or file_name(recipe.method.name)}-seed{recipe.seed}")
    elif (out / RECIPE).exists():
        raise InputError(f"{str(out)!r} already holds a run: go on with it by --resume {out}, or choose another --out.")
    elif out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{str(out)!r} exists and is no empty folder: choose another --out.")
    return out


def first_free(plain: Path) -> Path:
    """A folder that does not exist yet.

    Args:
        plain: The folder wished for.

    Returns:
        The first free one of `NAME`, `NAME-2`, `NAME-3`.
    """
    out, number = plain, 1
    while out.exists():
        number += 1
        out = plain.with_name(f"{plain.name}-{number}")
    return out


def file_name(method: str) -> str:
    """A method's name as part of a path.

    Args:
        method: Name of the method, perhaps `package.module:Class`.

    Returns:
        The name without a colon.
    """
    return method.replace(":", ".")


@contextmanager
def stoppable(
    verb: str, out: Path, marker: str, *, told: bool = True, also: tuple[type[BaseException], ...] = ()
) -> Iterator[None]:
    """Say how to go on where long work is stopped.

    Args:
        verb: What goes on with it.
        out: Folder of the work.
        marker: The file in it without which there is nothing to go on with.
        told: Whether this process may print.
        also: What else stops it, beside a key or a signal.

    Yields:
        None: While it runs.

    Raises:
        KeyboardInterrupt: The user stopped it at once.
        SystemExit: A signal stopped it, and its state is saved.
    """
    try:
        yield
    except (KeyboardInterrupt, SystemExit, *also):
        if told and (out / marker).exists():
            print(f"stopped; go on with: locallearn {verb} --resume {out}", file=sys.stderr)
        raise


def result(summary: Summary) -> dict[str, Any]:
    """A run's summary as `--json` prints it.

    Args:
        summary: What `train` returned.

    Returns:
        Its fields.
    """
    return summary.as_dict()


def over_seeds(results: Sequence[dict[str, Any]], out: Path) -> dict[str, Any]:
    """The first run's result, with the mean score in place of its own.

    Args:
        results: See `result`; at least two.
        out: Folder of the runs.

    Returns:
        Beside the mean its deviation, and every seed's score.
    """
    score = f"test_{results[0]['score']}"
    scores = [result[score] for result in results]
    mean = statistics.fmean(scores)
    return results[0] | {
        score: mean,
        **({"test_error": 100 - mean} if score == "test_accuracy" else {}),
        f"{score}_deviation": statistics.stdev(scores),
        _by_seed(score): scores,
        "run": str(out),
        "network": [result["network"] for result in results],
    }


def _by_seed(score: str) -> str:
    return "test_accuracies" if score == "test_accuracy" else f"{score}_by_seed"


def print_result(result: dict[str, Any]) -> None:
    """Print what came of a run.

    Args:
        result: See `result` and `over_seeds`.
    """
    score = f"test_{result['score']}"
    deviation = result.get(f"{score}_deviation")
    spread = "" if deviation is None else f" +- {deviation:.2f} over {len(result[_by_seed(score)])} seeds"
    rows = {
        score.replace("_", " "): f"{result[score]:.2f} %{spread}",
        "peak memory": _memory(result["peak_bytes"], result["backprop_peak_bytes"]),
        "run": result["run"],
        "network": result["network"],
    }
    notes = [("note", note) for note in result.get("notes", ())]
    print_rows([{"result": name, "value": value} for name, value in [*rows.items(), *notes]])


def _memory(own: int | None, backprop: int | None) -> str:
    if own is None or backprop is None:
        return "not counted"
    return (
        f"{own / 2**20:.1f} MiB, {own / backprop:.2f} of backprop's {backprop / 2**20:.1f} MiB (bytes alive in a step)"
    )
