"""Blocks that take turns learn what a plain loop over the paper's algorithm learns."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn, optim

import locallearn as ll
from conformance.models import METHODS, assert_same
from detection_batches import detector, images_and_targets
from locallearn.datasets.batches import Batches
from locallearn.datasets.digits import SPEC
from locallearn.datasets.loading import load
from locallearn.objective import Batch, prediction_term
from locallearn.parallel.asynchronous import Asynchronous
from locallearn.parallel.turn_order import TurnOrder
from small_networks import residual, stack

ACCEPTED = ["dgl", "predsim", "infopro"]
OPTIMIZERS = {
    "sgd": lambda groups: optim.SGD(groups, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "adamw": lambda groups: optim.AdamW(groups, lr=0.01),
}


def batch(step, dtype=torch.float32):
    generator = torch.Generator().manual_seed(step)
    return torch.rand(6, 3, 8, 8, generator=generator, dtype=dtype), torch.arange(6) % 3


def with_dropout():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout(0.3),
        nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def model_of(method, network=None, num_blocks=3, execution=None, dtype=torch.float32):
    torch.manual_seed(0)
    network = with_dropout() if network is None else network
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8, dtype=dtype), num_blocks=num_blocks)
    return ll.LocalModel(blocks, method, ll.Classification(3), execution=execution or ll.Execution())


def groups_of(model):
    return [{"params": p, "lr": 0.01 * (i + 1)} for i, p in enumerate(model.parameter_groups().values()) if p]


def blocks_in(order, count):
    return [(order.block, order.advance())[0] for _ in range(count)]


def synchronous(model, optimizer, batches):
    found = []
    for inputs, targets in batches:
        optimizer.zero_grad()
        found += model.local_backward(inputs, targets)
        optimizer.step()
    return found


@pytest.mark.parametrize("how", [{}, {"lean": "recompute"}, {"recompute": "blocks", "count_batches": "together"}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("method", ACCEPTED)
def test_round_robin_with_capacity_one_is_synchronous_to_the_bit(method, optimizer, how):
    one, other = (model_of(ll.method(method), execution=ll.Execution(**how)) for _ in range(2))
    optimizers = [OPTIMIZERS[optimizer](groups_of(model)) for model in (one, other)]
    batches = [batch(step) for step in range(4)]
    start = deepcopy(one.state_dict())
    torch.manual_seed(1)
    expected = synchronous(one, optimizers[0], batches)
    # Gradients of before are left behind.
    other.local_backward(*batch(99))
    other.load_state_dict(start)
    torch.manual_seed(1)
    training = Asynchronous(other, optimizers[1], order="round_robin")
    turns = [turn for epoch in (batches[:3], batches[3:]) for turn in training.over(epoch)]
    assert_same(other.state_dict(), one.state_dict())
    assert all(turn.output.logits is None for turn in turns)
    assert [turn.block for turn in turns] == [0, 1, 2] * 4 and training.turns == [4, 4, 4]
    for turn, output in zip(turns, expected, strict=True):
        assert torch.equal(turn.output.loss, output.loss) and not turn.output.loss.requires_grad
    assert all(parameter.grad is None for parameter in other.parameters())


@pytest.mark.parametrize("max_uses", [None, 1, 2])
@pytest.mark.parametrize("capacity", [1, 3])
def test_random_turns_equal_a_plain_loop_over_the_papers_algorithm(capacity, max_uses):
    model = model_of(ll.InfoPro(), residual(2), dtype=torch.float64)
    expected = deepcopy(model)
    optimizer = OPTIMIZERS["sgd"](model.parameters())
    training = Asynchronous(model, optimizer, capacity=capacity, slow={1: 3.0}, max_uses=max_uses, seed=4)
    batches = [batch(step, torch.float64) for step in range(20)]
    taken = list(training.over(batches, keep_logits=True))
    turns = [turn.block for turn in taken]
    assert all(turn.output.logits.shape == (6, 3) for turn in taken if turn.block == 2)
    own = [OPTIMIZERS["sgd"](expected.window_parameters(block)) for block in range(3)]
    buffers, source = [[] for _ in range(3)], iter(batches)
    assert max_uses is not None or turns == blocks_in(TurnOrder(3, slow={1: 3.0}, seed=4), len(turns))
    for block in turns:
        if block == 0:
            inputs, targets = next(source)
            state = inputs
        else:
            slots = buffers[block - 1][-capacity:]
            least = min(slot["uses"] for slot in slots)
            slot = [slot for slot in slots if slot["uses"] == least][-1]
            slot["uses"] += 1
            assert max_uses is None or slot["uses"] <= max_uses
            state, inputs, targets = slot["entry"]
        made = expected.partition.blocks[block](state)
        own[block].zero_grad()
        expected.objectives[block](made, Batch(inputs, targets)).loss.backward()
        own[block].step()
        buffers[block].append({"entry": (made.detach(), inputs, targets), "uses": 0})
    assert next(source, None) is None and len(turns) > (40 if max_uses is None else 25)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-10, atol=1e-12)
    assert training.turns == [turns.count(block) for block in range(3)]
    assert (sum(training.idle) > 0) == (max_uses is not None)


def test_a_limit_of_uses_lets_turns_pass():
    counts = {}
    for max_uses in (None, 1):
        model = model_of(ll.DGL())
        optimizer = OPTIMIZERS["sgd"](model.parameters())
        training = Asynchronous(model, optimizer, capacity=2, slow={0: 4.0}, max_uses=max_uses)
        list(training.over([batch(step) for step in range(10)]))
        counts[max_uses] = training.turns, training.idle
    assert counts[None][0][1] > 10 and counts[None][1] == [0, 0, 0]
    assert max(counts[1][0]) == 10 and counts[1][1][1] > 0 and counts[1][1][0] == 0


class Overwriting(nn.Module):
    """Starts by writing into what it reads."""

    def __init__(self):
        super().__init__()
        self.relu, self.conv, self.norm = nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x):
        return x + self.norm(self.conv(self.relu(x)))


def test_a_block_that_writes_into_its_input_leaves_the_buffer_as_it_is():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), Overwriting(), Overwriting(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = model_of(ll.DGL(), network.append(nn.Linear(4, 3)))
    training = Asynchronous(model, OPTIMIZERS["sgd"](model.parameters()), capacity=4, slow={0: 3.0})
    for turn in training.over([batch(step) for step in range(5)]):
        held = [entry[0] for entry, _ in training.buffers[0].state_dict()["slots"]]
        if turn.block == 0:
            before = [values.clone() for values in held]
        assert all((values < 0).any() for values in held)
        assert all(map(torch.equal, held, before))


@pytest.mark.parametrize(("method", "kept"), [("dgl", [False, False]), ("infopro", [True, False])])
def test_buffers_are_bounded_and_hold_inputs_only_for_objectives_that_read_them(method, kept):
    model = model_of(ll.method(method))
    training = Asynchronous(model, OPTIMIZERS["sgd"](model.parameters()), capacity=2)
    list(training.over([batch(step) for step in range(9)]))
    assert [len(buffer) for buffer in training.buffers] == [2, 2]
    assert [buffer.read()[1] is not None for buffer in training.buffers] == kept


@pytest.mark.parametrize("stop", [3, 17, 30])
def test_a_stored_training_goes_on_to_the_same_bits(stop, tmp_path):
    def made(seed):
        torch.manual_seed(0)
        model = model_of(ll.PredSim(), residual(2, dtype=torch.float32))
        optimizer = OPTIMIZERS["adamw"](model.parameters())
        return model, optimizer, Asynchronous(model, optimizer, capacity=3, slow={2: 2.0}, max_uses=2, seed=seed)

    batches = [batch(step) for step in range(15)]
    straight, resumed = made(1), made(2)
    turns = list(straight[2].over(batches))
    first = made(1)
    for _, turn in zip(range(stop), first[2].over(batches), strict=False):
        assert turn is not None
    torch.save([part.state_dict() for part in first], tmp_path / "state.pt")
    for part, state in zip(resumed, torch.load(tmp_path / "state.pt", weights_only=True), strict=True):
        part.load_state_dict(state)
    done = first[2].turns[0]
    rest = list(resumed[2].over(batches[done:]))
    assert [turn.block for turn in rest] == [turn.block for turn in turns[stop:]]
    assert_same(resumed[0].state_dict(), straight[0].state_dict())
    assert resumed[2].turns == straight[2].turns and resumed[2].idle == straight[2].idle


def test_a_state_of_other_blocks_is_refused():
    one, other = (model_of(ll.DGL(), num_blocks=count) for count in (2, 3))
    trainings = [Asynchronous(model, OPTIMIZERS["sgd"](model.parameters())) for model in (one, other)]
    with pytest.raises(ll.InputError, match="of 2 blocks, not of 3"):
        trainings[1].load_state_dict(trainings[0].state_dict())


def test_a_slow_block_still_learns_the_digits():
    splits = load("digits")
    how = {"spec": SPEC, "seed": 0, "augmentation": None, "device": "cpu"}
    train = Batches(splits.train, 64, shuffle=True, drop_last=True, **how)
    test = Batches(splits.test, 360, shuffle=False, **how)
    torch.manual_seed(0)
    network = stack([16, 16, 32], classes=10, strides=[1, 2, 1], dtype=torch.float32)
    blocks = ll.partition(network, torch.zeros(2, 3, 8, 8), num_blocks=3)
    model = ll.LocalModel(blocks, ll.DGL(), ll.Classification(10))
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.StepLR(optimizer, step_size=4, gamma=0.2)
    training = Asynchronous(model, optimizer, capacity=4, slow={1: 2.0})
    for epoch in range(6):
        for _ in training.over(train.epoch(epoch)):
            pass
        schedule.step()
    network.eval()
    right = sum(int((network(x).argmax(1) == y).sum()) for x, y in test.epoch(0))
    assert right / len(splits.test) > 0.9
    assert training.turns[0] / training.turns[1] == pytest.approx(2, rel=0.3)
    assert training.turns[0] / training.turns[2] == pytest.approx(1, rel=0.3)


def test_a_detector_learns_in_turns_as_in_a_whole_step():
    images, targets = images_and_targets()
    found = []
    for asynchronous in (False, True):
        network = detector()
        blocks = ll.partition(network, torch.zeros(2, 3, 64, 64), num_blocks=2)
        model = ll.LocalModel(blocks, ll.DGL(), ll.Detection(2))
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        torch.manual_seed(5)
        if asynchronous:
            list(Asynchronous(model, optimizer, order="round_robin").over([(images, targets)] * 2))
        else:
            synchronous(model, optimizer, [(images, targets)] * 2)
        found.append(deepcopy(network.state_dict()))
    assert_same(found[1], found[0])


class SharedEnd(ll.Method):
    """Every block is scored through the network's own last layer."""

    def windows(self, partition):
        return ll.DGL().windows(partition)

    def objective(self, window, site, context, *, head=None):
        head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), context.partition.network[-1])
        return ll.WeightedTerms(prediction_term(head, context.task))


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("backprop", r"Backprop has not one window for each block, but such as Window\(start=0, stop=3"),
        ("auglocal", r"AugLocal has not one window .*Window\(start=.*use DGL, PredSim or InfoPro"),
        ("dgl+man", r"Objectives of MAN average parameters of other blocks, such as '\w+.*use DGL, PredSim or InfoPro"),
        ("mlaan", r"MLAAN has not one window (?s:.*)Objectives of MLAAN average"),
    ],
)
def test_methods_whose_blocks_do_not_learn_alone_are_refused(method, words):
    model = model_of(ll.method(method, **METHODS[method]), residual(3, dtype=torch.float32), num_blocks=3)
    with pytest.raises(ll.InputError, match=words):
        Asynchronous(model, OPTIMIZERS["sgd"](model.parameters()))


def test_all_that_does_not_fit_is_told_at_once():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.append(nn.Linear(4, 3))
    model = model_of(SharedEnd(), network, num_blocks=2, execution=ll.Execution(group_heads=True))
    some = optim.SGD(model.network[0].parameters(), lr=0.1)
    with pytest.raises(ll.InputError) as caught:
        Asynchronous(model, some, capacity=0, slow={2: 2.0})
    for words in ("'network.5.weight' is trained by several", "group_heads runs heads", "slow={2: 2.0}", "capacity"):
        assert words in str(caught.value)
    assert "optimizer lacks" in str(caught.value)


def test_targets_that_do_not_fit_stop_the_turn_and_the_next_call_goes_on():
    model = model_of(ll.DGL())
    training = Asynchronous(model, OPTIMIZERS["sgd"](model.parameters()))
    inputs, targets = batch(0)
    with pytest.raises(ll.InputError):
        list(training.over([(inputs, targets + 7)]))
    assert [turn.block for turn in training.over([(inputs, targets)])] == [0]
    assert training.turns == [1, 0, 0]


def test_a_batch_of_one_image_says_what_to_do():
    network = nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten())
    model = model_of(ll.PredSim(), network.append(nn.Linear(4, 3)), num_blocks=2)
    training = Asynchronous(model, OPTIMIZERS["sgd"](model.parameters()))
    inputs, targets = batch(0)
    with pytest.raises(ll.InputError, match="batch of one sample"):
        list(training.over([(inputs[:1], targets[:1])]))


def test_a_batch_that_a_later_block_could_not_learn_from_is_refused_at_once():
    model = model_of(ll.DGL())
    training = Asynchronous(model, OPTIMIZERS["sgd"](model.parameters()))
    inputs, targets = batch(0)
    with pytest.raises(ll.InputError, match="Local heads with BatchNorm cannot learn"):
        list(training.over([(inputs[:1], targets[:1])]))
