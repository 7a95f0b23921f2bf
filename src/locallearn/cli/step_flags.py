"""Flags that describe a training step: network, input, method, blocks, execution. Needs only the standard library."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import types
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from typing_extensions import override

from locallearn.abstract_method import Method
from locallearn.errors import InputError
from locallearn.execution import Execution
from locallearn.methods import METHODS, NamedMethod, method, named_method
from locallearn.networks import names as network_names


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepOptions:
    """A training step as the command line describes it.

    Args:
        network: A name of `networks.build`.
        input: Shape of one input.
        classes: Outputs of the network.
        batch_size: Inputs in a step.
        method: How to train.
        method_name: What the command line calls it.
        num_blocks: K; None leaves it to the verb.
        balance: What the blocks share evenly.
        preset: Whose published cuts.
        split_points: Modules after which to cut.
        execution: How the step is carried out.
        step_in_backward: Whether the optimizer steps block by block.
        precision: Arithmetic of the forward passes.
        optimizer: What updates the weights.
        channels_last: Whether images lie in memory channel by channel of each pixel.
        device: Where the step runs.
    """

    network: str
    input: tuple[int, ...]
    classes: int
    batch_size: int
    method: Method
    method_name: str
    num_blocks: int | None
    balance: Literal["depth", "memory", "flops", "peak"]
    preset: str | None
    split_points: tuple[str, ...] | None
    execution: Execution
    step_in_backward: bool
    precision: Literal["fp32", "bf16"]
    optimizer: Literal["sgd", "adamw"]
    channels_last: bool
    device: str


class StepParser(argparse.ArgumentParser):
    """A parser whose refusals are `InputError`, with the nearest legal flag.

    Args:
        verb: Name of the verb.
        description: What the verb does.
    """

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(prog=f"locallearn {verb}", description=description, allow_abbrev=False)

    @override
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message[:1].upper()}{message[1:]}; {self.prog} --help lists all flags.")

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Read a command line; `_` and `-` are the same in names of flags.

        Args:
            argv: Words after the verb.

        Returns:
            The values by the flags' paths.
        """
        values, unknown = self.parse_known_args([_with_hyphens(word) for word in argv])
        flags = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        if flags:
            self.error(f"there is no flag {flags[0]}{_nearest(flags[0], self._option_string_actions)}")
        if unknown:
            self.error(f"nothing is expected at {unknown[0]!r}")
        return values


def add_step_flags(
    parser: argparse.ArgumentParser, argv: Sequence[str], *, method_name: str = "dgl", balance: str = "depth"
) -> None:
    """Add the flags that `step_options` reads.

    Args:
        parser: Gets the flags, among them one for each field of the method that `argv` names, and of `Execution`.
        argv: Words after the verb.
        method_name: The method where `argv` names none.
        balance: What the blocks share evenly where `argv` does not say.

    Raises:
        InputError: There is no such method.
    """
    add = parser.add_argument_group("network and batch").add_argument
    add("--network", metavar="NAME", help=f"one of {', '.join(network_names())}")
    add("--input", nargs="+", type=_whole, metavar="N", help="shape of one input, as in 3 32 32")
    add("--classes", type=_whole, default=10, metavar="N", help="outputs of the network (10)")
    add("--batch-size", type=_whole, default=128, metavar="N", help="inputs in a step (128)")
    add = parser.add_argument_group("blocks").add_argument
    add("--num-blocks", type=_whole, metavar="K", help="how many blocks; one for each unit if not given")
    balances = get_type_hints(StepOptions)["balance"]
    add("--balance", type=_converter(balances), default=balance, help=f"{_choices(balances)} ({balance})")
    add("--preset", metavar="NAME", help="cut as a paper's released code does")
    add("--split-points", nargs="+", metavar="MODULE", help="cut after these modules")
    add = parser.add_argument_group("step").add_argument
    add("--precision", type=_one_of("fp32", "bf16"), default="fp32", help="fp32 or bf16 (fp32)")
    add("--optimizer", type=_one_of("sgd", "adamw"), default="sgd", help="sgd with momentum, or adamw (sgd)")
    add("--channels-last", action="store_true", help="keep images channels-last")
    add("--step-in-backward", action="store_true", help="step the optimizer block by block, freeing gradients")
    add("--device", default="cpu", help="cpu, cuda or another device of PyTorch (cpu)")
    for field in dataclasses.fields(Execution):
        _add_field(parser, f"execution.{field.name}", get_type_hints(Execution)[field.name], field.default)
    name = _given_method(argv) or method_name
    parser.add_argument("--method", default=name, metavar="NAME", help=f"{', '.join(METHODS)}, joined by '+' ({name})")
    _add_fields(parser, "method", named_method(name))


def step_options(values: argparse.Namespace) -> StepOptions:
    """The step that parsed flags describe.

    Args:
        values: From a parser with the flags of `add_step_flags`.

    Returns:
        The step.

    Raises:
        InputError: The network or its input is missing, or a value is refused.
    """
    given = vars(values)
    missing = [f"--{name}" for name in ("network", "input") if given[name] is None]
    if missing:
        raise InputError(f"{' and '.join(missing)} must be given, as in --network resnet32 --input 3 32 32.")
    for name in ("classes", "batch_size", *(["num_blocks"] if given["num_blocks"] is not None else [])):
        if given[name] < 1:
            raise InputError(f"--{name.replace('_', '-')} must be at least 1, not {given[name]}.")
    if min(given["input"]) < 1:
        raise InputError(f"--input is a shape of positive numbers, as in 3 32 32, not {given['input']}.")
    names = {field.name for field in dataclasses.fields(StepOptions)} & given.keys()
    made = {
        "input": tuple(given["input"]),
        "method_name": given["method"],
        "method": method(given["method"], **_nested(given, "method.")),
        "execution": Execution(**_nested(given, "execution.")),
        "split_points": None if given["split_points"] is None else tuple(given["split_points"]),
    }
    return StepOptions(**{name: given[name] for name in names} | made)


def _given_method(argv: Sequence[str]) -> str | None:
    finder = StepParser("", "")
    finder.add_argument("--method")
    return finder.parse_known_args([word for word in argv if word not in ("-h", "--help")])[0].method


def _add_fields(parser: argparse.ArgumentParser, path: str, named: NamedMethod) -> None:
    hints = get_type_hints(named.kind)
    for name, default in named.defaults.items():
        _add_field(parser, f"{path}.{name}", hints[name], default)
    if named.base is not None:
        _add_fields(parser, f"{path}.base", named.base)


def _add_field(parser: argparse.ArgumentParser, path: str, hint: Any, default: object) -> None:
    place, _, name = path.rpartition(".")
    flag = _with_hyphens(f"--{path}")
    told = "no default" if default is dataclasses.MISSING else default
    if hint is bool:
        negation = _with_hyphens(f"--{place}.no-{name}")
        pair = parser.add_mutually_exclusive_group()
        pair.add_argument(flag, dest=path, action="store_true", default=argparse.SUPPRESS, help=f"yes or no ({told})")
        pair.add_argument(negation, dest=path, action="store_false", default=argparse.SUPPRESS, help="the opposite")
        return
    count, one = None, hint
    if get_origin(hint) is tuple:
        one, *others = get_args(hint)
        count = "*" if Ellipsis in others else 1 + len(others)
    parser.add_argument(
        flag,
        dest=path,
        nargs=count,
        type=_converter(one),
        default=argparse.SUPPRESS,
        metavar="VALUE",
        help=f"{_choices(hint)} ({told})",
    )


def _nested(given: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The fields under a prefix, those of `base` as a dictionary."""
    own = {path.removeprefix(prefix): value for path, value in given.items() if path.startswith(prefix)}
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in own.items()}
    outer = {name: value for name, value in fields.items() if "." not in name}
    return outer if len(outer) == len(fields) else outer | {"base": _nested(fields, "base.")}


def _converter(hint: Any) -> Callable[[str], Any]:
    if get_origin(hint) is Literal:
        return _one_of(*get_args(hint))
    if get_origin(hint) in (Union, types.UnionType):
        (kind,) = (each for each in get_args(hint) if each is not type(None))
        return _or_none(_converter(kind))
    return {int: _whole, float: _number}.get(hint, str)


def _choices(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return ", ".join(map(str, get_args(hint)))
    return getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)


def _one_of(*legal: str) -> Callable[[str], str]:
    def convert(word: str) -> str:
        if word not in legal:
            raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(legal)}{_nearest(word, legal)}")
        return word

    return convert


def _or_none(inner: Callable[[str], Any]) -> Callable[[str], Any]:
    return lambda word: None if word.lower() == "none" else inner(word)


def _whole(word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word!r} is no whole number") from error


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{word!r} is no number") from error


def _nearest(word: str, legal: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(legal), n=1)
    return f"; did you mean {near[0]}" if near else ""


def _with_hyphens(word: str) -> str:
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        return flag.replace("_", "-") + equals + value
    return word
