"""Which blocks may be parted, and how well they are spread."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from locallearn.abstract_method import Window
from locallearn.errors import InputError
from locallearn.parallel.stages import check_untied, divided, divided_at, legal_borders, owned_names, release
from parallel.cases import METHODS, model_of

TIMES = [3.0, 1.0, 1.0, 2.0, 5.0, 1.0]


def alone(blocks):
    return [Window(index, index + 1) for index in range(blocks)]


def divisions(times, stages, borders):
    for chosen in combinations(borders, stages - 1):
        yield [range(start, stop) for start, stop in pairwise([0, *chosen, len(times)])]


def slowest(times, runs, speeds):
    return max(sum(times[block] for block in run) / speed for run, speed in zip(runs, speeds, strict=True))


@given(
    times=st.lists(st.integers(1, 9).map(float), min_size=1, max_size=7),
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 3)), max_size=3),
    stages=st.integers(1, 4),
    speeds=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=4, max_size=4),
    cross=st.booleans(),
)
def test_no_other_division_is_faster(times, pairs, stages, speeds, cross):
    count, speeds = len(times), speeds[:stages]
    wide = [Window(start, min(start + size, count)) for start, size in pairs if start < count]
    windows = sorted([*alone(count), *wide], key=lambda window: window.stop)
    borders = [b for b in range(1, count) if cross or all(b <= w.start or w.stop <= b for w in windows)]
    assert legal_borders(windows, count, cross=cross) == borders
    every = list(divisions(times, stages, borders))
    if not every:
        with pytest.raises(InputError, match=f"cannot be divided.* {stages} processes"):
            divided(windows, times, stages, cross=cross, speeds=speeds)
        return
    runs = divided(windows, times, stages, cross=cross, speeds=speeds)
    assert list(runs) in every
    assert slowest(times, runs, speeds) == pytest.approx(min(slowest(times, each, speeds) for each in every))


def test_a_faster_device_gets_more():
    assert divided(alone(6), [1.0] * 6, 2, cross=False) == (range(0, 3), range(3, 6))
    assert divided(alone(6), [1.0] * 6, 2, cross=False, speeds=[1, 2]) == (range(0, 2), range(2, 6))
    assert divided(alone(6), TIMES, 2, cross=False) == (range(0, 4), range(4, 6))


def test_the_published_methods_can_be_divided_where_no_window_spans():
    borders = {name: legal_borders(model_of(name).windows, 4, cross=False) for name in METHODS}
    assert borders["dgl"] == borders["predsim"] == borders["infopro"] == borders["dgl+man"] == [1, 2, 3]
    assert borders["mlaan"] == borders["backprop"] == []
    # AugLocal trains the last blocks together: nothing may be parted inside of its last window.
    tail = model_of("auglocal").windows[-1]
    assert tail.stop - tail.start > 1 and borders["auglocal"] == list(range(1, tail.start + 1))


def test_a_refusal_says_why_and_what_to_do():
    with pytest.raises(
        InputError,
        match=r"4 blocks cannot be divided into more than 4 groups, and 5 processes .* Cut the network into more",
    ):
        divided(alone(4), [1.0] * 4, 5, cross=True)
    with pytest.raises(
        InputError, match=r"4 blocks cannot be divided, and .* window trains .* .--distributed.crossing send_back"
    ):
        divided([Window(0, 4)], [1.0] * 4, 2, cross=False)


def test_borders_that_are_given_hold():
    assert divided_at([1, 4], alone(6), 6, cross=False) == (range(0, 1), range(1, 4), range(4, 6))
    wide = [Window(0, 3), Window(3, 6)]
    assert divided_at([3], wide, 6, cross=False) == (range(0, 3), range(3, 6))
    assert divided_at([2], wide, 6, cross=True) == (range(0, 2), range(2, 6))
    for borders in ([2], [0], [6], [3, 3], [3, 1]):
        with pytest.raises(InputError, match=r"cannot be divided at .* out of \[3\]"):
            divided_at(borders, wide, 6, cross=False)


@pytest.mark.parametrize("name", ["dgl", "mlaan", "infopro+man"])
def test_every_tensor_has_one_stage_and_the_rest_keeps_its_shape_alone(name):
    stages = (range(0, 2), range(2, 3), range(3, 4))
    shapes = {key: value.shape for key, value in model_of(name).state_dict().items()}
    owned = [owned_names(model_of(name), blocks) for blocks in stages]
    network = model_of(name).network
    everything = [key for key, _ in [*network.named_parameters(), *network.named_buffers()]]
    assert sorted(name for names in owned for name in names) == sorted(everything)
    for blocks, names in zip(stages, owned, strict=True):
        model = model_of(name)
        windows = [index for index, window in enumerate(model.windows) if blocks.start < window.stop <= blocks.stop]
        before = {key: value.clone() for key, value in model.state_dict().items()}
        release(model, names, windows)
        state = model.state_dict()
        assert {key: value.shape for key, value in state.items()} == shapes
        kept = {f"network.{each}" for each in names}
        kept |= {key for key in state for index in windows if key.startswith(f"objectives.{index}.")}
        assert {key for key, value in state.items() if not value.is_meta} == kept
        assert all(torch.equal(state[key], before[key]) for key in kept)
        assert {p.requires_grad for p in model.network.parameters()} == {True}


def test_what_no_block_uses_belongs_to_the_last_stage():
    model = model_of("dgl")
    model.network.add_module("unused", torch.nn.Linear(2, 2).double())
    owned = [owned_names(model, blocks) for blocks in (range(0, 2), range(2, 4))]
    assert {"unused.weight", "unused.bias"} <= owned[1] - owned[0]


def test_weights_that_two_stages_would_train_are_refused_by_name():
    model = model_of("dgl")
    model.network.norm2.weight = model.network.norm1.weight
    stages = [range(0, 2), range(2, 4)]
    assert "norm2.weight" in owned_names(model, stages[0]) & owned_names(model, stages[1])
    with pytest.raises(InputError, match=r"'norm[12].weight' is used by blocks of two processes.*--parallel data=N"):
        check_untied(model, stages)
    check_untied(model, [range(0, 4)])
    check_untied(model_of("dgl"), stages)
