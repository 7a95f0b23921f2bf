"""MAN and MLAAN against training steps in plain PyTorch that compute every window's forward anew."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from methods.look_ahead_cases import BASES, WRAPPED, case_of, stacked, staged_units
from reference import heads, local_losses


@pytest.fixture
def running_statistics(monkeypatch):
    """Reference heads that normalise by the statistics they are given."""
    monkeypatch.setattr(heads, "batch_norm", local_losses.running_batch_norm)


def check_gradients(case):
    case.model.local_backward(case.inputs, case.labels)
    case.slow_step()
    case.assert_same_gradients()


BASE_OF = dict(zip(WRAPPED, ["dgl", "linear", "predsim", "infopro", "contrastive"] * 9, strict=False))
NETWORKS = {"stack": lambda: stacked([3, 4, 4, 5, 5], [1, 2, 1, 2, 1]), "staged": lambda: staged_units((2, 1, 2))}
SIZES = {"stack": [1, 1, 2, 1], "staged": [2, 1, 1, 1, 1]}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", WRAPPED)
def test_gradients_in_training_mode(name, network):
    torch.manual_seed(1)
    check_gradients(case_of(name, BASE_OF[name], NETWORKS[network](), SIZES[network]))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", WRAPPED)
def test_gradients_in_evaluation_mode(name, network, running_statistics):
    torch.manual_seed(2)
    base = list(BASES)[(list(BASES).index(BASE_OF[name]) + 2) % len(BASES)]
    case = case_of(name, base, NETWORKS[network](), SIZES[network], training=False)
    before = {key: value.clone() for key, value in case.model.named_buffers()}
    check_gradients(case)
    assert all(torch.equal(value, before[key]) for key, value in case.model.named_buffers())


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", ["man_code", "man_paper", "mlaan_code", "mlaan_paper"])
def test_gradients_of_every_preset_over_every_base(name, base):
    torch.manual_seed(3)
    check_gradients(case_of(name, base, staged_units((1, 2, 1)), [1, 1, 1, 1, 1]))


@st.composite
def cuts(draw):
    count = draw(st.integers(1, 5))
    widths = [draw(st.integers(2, 4)) for _ in range(count)]
    halving = draw(st.sets(st.integers(1, 4), max_size=2))
    ends = sorted(draw(st.sets(st.integers(1, count), max_size=4)) - {count})
    sizes = [stop - start for start, stop in zip([0, *ends], [*ends, count], strict=True)]
    return widths, [2 if i in halving else 1 for i in range(count)], sizes


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(list(WRAPPED)), st.sampled_from(["linear", "dgl", "predsim"]), cuts(), st.integers(0, 9999))
def test_gradients_on_any_stack_and_any_cut(name, base, cut, seed):
    widths, strides, sizes = cut
    torch.manual_seed(seed)
    check_gradients(case_of(name, base, stacked(widths, strides), sizes, seed=seed))


@pytest.mark.parametrize(
    "name", ["man", "man_code", "man_paper", "mlaan", "mlaan_code", "mlaan_paper", "mlaan+c3_both"]
)
def test_several_optimizer_steps_equal_those_of_the_plain_form(name):
    torch.manual_seed(4)
    case = case_of(name, "linear", staged_units((1, 2, 1)), [1, 1, 2, 1])
    learns = [p for p in case.learned.values() if p.requires_grad]
    how = {"lr": 0.05, "momentum": 0.9, "weight_decay": 1e-2}
    slow = torch.optim.SGD(learns, **how)
    fast = torch.optim.SGD(case.model.parameters(), **how)
    for _ in range(4):
        slow.zero_grad()
        case.slow_step()
        if case.method.update == "before_step":
            case.average()
        slow.step()
        if case.method.update == "after_step":
            case.average()
        fast.zero_grad()
        case.model.local_backward(case.inputs, case.labels)
        fast.step()
        case.model.after_step()
    case.assert_same_parameters()
