"""A sweep's trials in a file of SQLite, as Optuna keeps them, and what Optuna would try next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locallearn.datasets.batches import key_seed
from locallearn.errors import InputError
from locallearn.extras import require
from locallearn.sweeping.sweep_file import Changes, Sweep

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

NAME = "sweep"
ROW = "row"


@contextmanager
def opened(path: Path) -> Iterator[Study]:
    """The study in a file, which is made if there is none; every trial of it has ended.

    Args:
        path: The file.

    Yields:
        Study: Open until the block ends.

    Raises:
        InputError: Optuna is not installed, or the file is no study.
    """
    require("optuna", "A sweep", extra="sweep")
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = None
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path.resolve().as_posix()}")
        yield optuna.create_study(storage=storage, study_name=NAME, direction="maximize", load_if_exists=True)
    except SQLAlchemyError as error:
        raise InputError(f"{path} cannot be used as a study of Optuna ({error}).") from error
    finally:
        if storage is not None:
            storage.remove_session()
            storage.engine.dispose()
        optuna.logging.set_verbosity(before)


def rows(study: Study) -> list[dict[str, Any]]:
    """What was recorded of all trials.

    Args:
        study: See `opened`.

    Returns:
        Rows in the order of the trials.
    """
    return [trial.user_attrs[ROW] for trial in study.get_trials(deepcopy=False)]


def record(study: Study, sweep: Sweep, values: Changes, row: dict[str, Any], *, score: float | None) -> None:
    """Add a trial that has ended, whole or not at all.

    Args:
        study: See `opened`.
        sweep: What is swept.
        values: The trial's.
        row: What `rows` is to give back.
        score: What it is judged by; None if it failed.
    """
    from optuna.trial import TrialState, create_trial

    study.add_trial(
        create_trial(
            params={field: _parameter(value) for field, value in values.items()},
            distributions=distributions(sweep),
            value=score,
            state=TrialState.FAIL if score is None else TrialState.COMPLETE,
            user_attrs={ROW: row},
        )
    )


def proposed(sweep: Sweep, history: Sequence[FrozenTrial]) -> Changes:
    """What a search tries next; the same history gives the same values.

    Args:
        sweep: The search.
        history: All trials so far.

    Returns:
        A value for every field.
    """
    import optuna

    sampler = optuna.samplers.TPESampler(seed=key_seed(sweep.seed, len(history)))
    beside = optuna.create_study(sampler=sampler, direction="maximize")
    beside.add_trials(history)
    return dict(beside.ask(distributions(sweep)).params)


def distributions(sweep: Sweep) -> dict[str, BaseDistribution]:
    """The swept fields as Optuna has them.

    Args:
        sweep: Any sweep.

    Returns:
        A distribution for each field.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if sweep.kind != "search":
        axes: dict[str, Sequence[Any]] = dict(sweep.grid) or {"case": [case.name for case in sweep.case]}
        return {field: CategoricalDistribution([_parameter(value) for value in all_]) for field, all_ in axes.items()}
    found: dict[str, BaseDistribution] = {}
    for field, area in sweep.search.items():
        low, high = area.ends[0], area.ends[-1]
        if area.choices is not None:
            found[field] = CategoricalDistribution(area.choices)
        elif area.is_whole:
            found[field] = IntDistribution(int(low), int(high), log=area.log, step=int(area.step or 1))
        else:
            found[field] = FloatDistribution(float(low), float(high), log=area.log, step=area.step)
    return found


def _parameter(value: Any) -> Any:
    # Optuna keeps numbers and texts; lists become texts.
    return value if isinstance(value, bool | int | float | str) else json.dumps(value)
