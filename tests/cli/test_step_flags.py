"""A step's flags: every field of the method and of Execution, and refusals that say what was meant."""

from __future__ import annotations

import subprocess
import sys

import pytest

import locallearn as ll
from locallearn.cli.step_flags import StepParser, add_step_flags, step_options

NEEDED = ["--network", "resnet32", "--input", "3", "32", "32"]


def options(*words):
    parser = StepParser("plan", "a plan")
    add_step_flags(parser, words)
    return step_options(parser.parse([*NEEDED, *words]))


def test_defaults_are_those_of_the_classes():
    found = options()
    assert (found.network, found.input, found.classes, found.batch_size) == ("resnet32", (3, 32, 32), 10, 128)
    assert (found.method, found.execution, found.num_blocks) == (ll.DGL(), ll.Execution(), None)
    assert (found.precision, found.balance, found.device, found.channels_last) == ("fp32", "depth", "cpu", False)


@pytest.mark.parametrize(
    ("words", "method"),
    [
        (["--method", "predsim", "--method.beta", "0.5"], ll.PredSim(beta=0.5)),
        (["--method=predsim", "--method.pooled-features", "64"], ll.PredSim(pooled_features=64)),
        (["--method", "predsim", "--method.pooled_features", "None"], ll.PredSim()),
        (["--method", "infopro", "--method.reconstruction", "1", "0.5"], ll.InfoPro(reconstruction=(1.0, 0.5))),
        (["--method", "dgl+man", "--method.base.head", "man"], ll.MAN(ll.DGL(head="man"))),
        (["--method", "auglocal", "--method.repeated", "1", "2"], ll.AugLocal(repeated=(1, 2))),
        (["--method", "auglocal", "--method.no_norm_at_depth_one"], ll.AugLocal(norm_at_depth_one=False)),
        (["--method", "infopro+man_code", "--method.units=2"], ll.method("infopro+man_code", units=2)),
    ],
)
def test_fields_of_the_method(words, method):
    assert options(*words).method == method


def test_fields_of_the_execution():
    words = ["--execution.lean", "in_place", "--execution.group_heads", "--execution.recompute=blocks"]
    assert options(*words).execution == ll.Execution(lean="in_place", group_heads=True, recompute="blocks")
    assert not options("--execution.no-group-heads").execution.group_heads


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--batchsize", "4"], "did you mean --batch-size"),
        (["--batch-size", "many"], "'many' is no whole number"),
        (["--batch-size", "0"], "--batch-size must be at least 1"),
        (["--input", "3", "0", "8"], "positive numbers"),
        (["--precision", "bf1"], "did you mean bf16"),
        (["--method", "dlg"], "Did you mean 'dgl'"),
        (["--method.heads", "linear"], "did you mean --method.head"),
        (["--method.head", "liner"], "did you mean linear"),
        (["--method", "predsim", "--method.beta", "x"], "'x' is no number"),
        (["--execution.lean", "inplace"], "did you mean in_place"),
        (["--method"], "expected one argument"),
        (["--execution.compile", "--execution.no-compile"], "not allowed with"),
        (["surplus"], "no whole number"),
        (["--channels-last", "surplus"], "Nothing is expected at 'surplus'"),
        (["--method", "infopro", "--method.reconstruction", "1"], "expected 2 arguments"),
    ],
)
def test_refusals(words, said):
    with pytest.raises(ll.InputError, match=said):
        options(*words)


def test_what_is_missing():
    parser = StepParser("plan", "a plan")
    add_step_flags(parser, [])
    with pytest.raises(ll.InputError, match="--network and --input must be given"):
        step_options(parser.parse([]))


def test_help_lists_the_fields_of_the_method_that_is_given(capsys):
    parser = StepParser("plan", "a plan")
    words = ["--method", "dgl+man", "--help"]
    add_step_flags(parser, words)
    with pytest.raises(SystemExit):
        parser.parse(words)
    told = capsys.readouterr().out
    assert "--method.momentum" in told and "--method.base.head" in told and "--execution.lean" in told


def test_needs_none_of_the_command_lines_libraries():
    code = "import sys, locallearn.cli.step_flags as _; print({'torch', 'pydantic', 'tyro', 'rich'} & {*sys.modules})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
