"""What a checkpoint holds of the processes of a run, as one process would write it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn, optim
from torch.utils._pytree import tree_map

from locallearn.datasets.batches import key_seed
from locallearn.parallel.sharding import is_sharded, like, whole
from locallearn.training import random_state
from locallearn.training.epoch_tally import EpochTally

if TYPE_CHECKING:
    from locallearn.parallel.layout import Layout
    from locallearn.parallel.team import Team
    from locallearn.training.optimizer_step import Trainer


def own_state(trainer: Trainer, optimizer: optim.Optimizer, tally: EpochTally, *, replica: int) -> dict[str, Any]:
    """What this process contributes.

    Args:
        trainer: Has the model, of which parts may be elsewhere.
        optimizer: Over all of the model's parameters.
        tally: Of the epoch so far.
        replica: Which part of each batch is here; weights are taken from the first.

    Returns:
        Tensors and plain data.
    """
    state: dict[str, Any] = {"tally": tally.state_dict(), "random": random_state.captured()}
    model, moments = trainer.model, optimizer.state_dict()
    here = [index for index, parameter in enumerate(_parameters(optimizer)) if not parameter.is_meta]
    # Processes that share parameters put them together here, so all of them must pass.
    weights = {
        "network": _here(model.network),
        "objectives": _here(model.objectives),
        "moments": {i: tree_map(_on_host, moments["state"][i]) for i in here if i in moments["state"]},
        "groups": moments["param_groups"],
        "heard": trainer.heard(),
    }
    return state if replica else state | weights


def joined_state(states: Sequence[Mapping[str, Any]], trainer: Trainer, layout: Layout) -> dict[str, Any]:
    """One state of all that processes contribute, whichever of them has what.

    Args:
        states: `own_state` of every process, by rank.
        trainer: Knows the order of the tensors.
        layout: How they share the run.

    Returns:
        The parts of a checkpoint, apart from where the run stands.
    """
    firsts = [states[layout.rank(stage, 0)] for stage in range(layout.blocks)]
    moments = {index: moment for state in firsts for index, moment in state["moments"].items()}
    model = trainer.model
    return {
        "network": {name: _found(firsts, "network", name) for name in model.network.state_dict()},
        "objectives": {name: _found(firsts, "objectives", name) for name in model.objectives.state_dict()},
        "optimizer": {"state": dict(sorted(moments.items())), "param_groups": firsts[0]["groups"]},
        "heard": {name: tensor for state in firsts for name, tensor in state["heard"].items()},
        "tally": [
            _merged([states[layout.rank(stage, replica)]["tally"] for stage in range(layout.blocks)])
            for replica in range(layout.replicas)
        ],
        "random": [state["random"] for state in states],
        "layout": {"blocks": layout.blocks, "data": layout.replicas, "borders": list(trainer.borders)},
    }


def restore(state: Mapping[str, Any], trainer: Trainer, optimizer: optim.Optimizer) -> None:
    """Take over weights and moments.

    Args:
        state: Of `joined_state`.
        trainer: Gets what it has of the model.
        optimizer: Gets what belongs to these parameters.

    Raises:
        KeyError: A part is missing.
        RuntimeError: A tensor is missing, or of another shape.
    """
    model = trainer.model
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no-op.*")  # what other processes train has no values here
        for module, part in ((model.network, "network"), (model.objectives, "objectives")):
            present = module.state_dict()
            module.load_state_dict({name: like(values, present.get(name)) for name, values in state[part].items()})
    parameters = _parameters(optimizer)
    moments = {
        i: {k: like(v, parameters[i]) for k, v in each.items()} for i, each in state["optimizer"]["state"].items()
    }
    optimizer.load_state_dict({**state["optimizer"], "state": moments})
    for name, tensor in trainer.heard().items():
        tensor.copy_(state["heard"].get(name, state["network"][name]))


def restore_shares(
    state: Mapping[str, Any], trainer: Trainer, tally: EpochTally, team: Team, *, seed: int, step: int
) -> None:
    """Take over sums and random states, which belong to a process, as far as there were as many as now.

    Args:
        state: Of `joined_state`.
        trainer: Says which windows end here.
        tally: Gets this process's sums; those of all, in the first of another number of processes.
        team: The processes now.
        seed: The run's.
        step: Steps made.
    """
    tallies, randoms = state["tally"], state["random"]
    if len(tallies) != team.layout.replicas:
        tallies = [_merged(tallies), *[_merged([])] * (team.layout.replicas - 1)]
    tally.absorb(tallies[team.replica], only=trainer.windows)
    if (state["layout"]["blocks"], state["layout"]["data"]) == (team.layout.blocks, team.layout.replicas):
        random_state.restore(randoms[team.rank])
    elif team.rank == 0:
        random_state.restore(randoms[0])
    else:
        random_state.seed_everything(key_seed(seed, step, team.rank))


def filled(network: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A network of which parts were elsewhere, with all its values.

    Args:
        network: Changed in place.
        tensors: Its whole state.

    Returns:
        The network.
    """
    for path, module in network.named_modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is not None and (tensor.is_meta or is_sharded(tensor)):
                    values = tensors[f"{path}.{name}".removeprefix(".")]
                    kept = nn.Parameter(values, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values
                    table[name] = kept  # pyright: ignore[reportArgumentType]
    return network


def _here(module: nn.Module) -> dict[str, Tensor]:
    return {name: _on_host(tensor) for name, tensor in module.state_dict().items() if not tensor.is_meta}


def _on_host(value: Any) -> Any:
    # Processes have accelerators of their own, which those that gather must not fill.
    return whole(value).cpu() if isinstance(value, Tensor) else value


def _parameters(optimizer: optim.Optimizer) -> list[nn.Parameter]:
    return list(chain.from_iterable(group["params"] for group in optimizer.param_groups))


def _found(states: Sequence[Mapping[str, Any]], part: str, name: str) -> Tensor:
    return next(state[part][name] for state in states if name in state[part])


def _merged(tallies: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged = EpochTally((), None, torch.device("cpu"))
    for tally in tallies:
        merged.absorb(tally)
    return merged.state_dict()
