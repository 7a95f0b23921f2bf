import copy

import pytest
import torch
from torch import nn
from torchvision.models._utils import IntermediateLayerGetter

import locallearn as ll
from locallearn.errors import InputError
from locallearn.objective import Batch
from locallearn.partitioning.body import find_body
from small_networks import Residual


class TwoHeads(nn.Module):
    """A body of three stages, of which a main head reads the last and a side head the second."""

    def __init__(self):
        super().__init__()
        stages = {f"stage{index}": nn.Sequential(Residual(4), Residual(4)) for index in range(3)}
        layers = nn.ModuleDict({"stem": nn.Conv2d(3, 4, 3, padding=1)} | stages)
        self.body = IntermediateLayerGetter(layers, {"stage2": "out", "stage1": "aux"})
        self.main, self.side = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x):
        features = self.body(x)
        return {"out": self.main(features["out"]), "aux": self.side(features["aux"])}


class Skipping(nn.Module):
    """The last layer reads the first layer's output again."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Linear(3, 6), nn.ReLU())
        self.second = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
        self.last, self.head = nn.Linear(12, 6), nn.Linear(6, 2)

    def forward(self, x):
        first = self.first(x)
        return self.head(self.last(torch.cat([self.second(first), first], 1)).relu())


class Summed(ll.Classification):
    """Sums all of an output; its local loss reads the features' mean."""

    def fits(self, output_shape):
        return True

    def output_loss(self, network, output, targets):
        return output["out"].square().mean() + output["aux"].square().sum()

    def prediction(self, output):
        return output["out"].mean((2, 3))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return TwoHeads().double()


def images(count=4):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


EVERY_UNIT = ("stem", "stage0.0", "stage0.1", "stage1.0", "stage1.1", "stage2.0")
BEHIND_THE_SIDE = ("stage0.1", "stage2.0")


def model_of(network, method, ends=EVERY_UNIT):
    torch.manual_seed(3)
    blocks = ll.partition(network, images(2), split_points=[f"body.{end}" for end in ends])
    return ll.LocalModel(blocks, method, Summed(5))


def test_the_units_are_the_bodys_and_what_follows_is_the_head(network):
    blocks = ll.partition(network, images(2), num_blocks=7)
    assert [unit.name for unit in blocks.units][1:3] == ["body.stage0.0", "body.stage0.1"]
    assert blocks.units[-1].name == "body.stage2.1"
    assert set(blocks.head.modules_called) == {"main", "side"}
    assert blocks.body == "" and blocks.output_shape == (5, 8, 8)


def test_side_outputs_are_all_but_the_deepest(network):
    body = find_body(network)
    assert body is not None
    assert (body.name, body.side_outputs, body.alone) == ("body", ("body.stage1",), False)
    assert find_body(nn.Sequential(nn.Linear(2, 2))) is None


def test_back_propagation_through_any_number_of_blocks_reaches_side_outputs(network):
    plain = copy.deepcopy(network)
    Summed(5).output_loss(plain, plain(images()), None).backward()
    model_of(network, ll.Backprop()).local_backward(images(), torch.arange(4))
    for (name, ours), truth in zip(network.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, truth.grad, rtol=0, atol=1e-12, msg=name)


@pytest.mark.parametrize("ends", [EVERY_UNIT, BEHIND_THE_SIDE])
@pytest.mark.parametrize("method", [ll.DGL(), ll.MAN(ll.DGL()), ll.MLAAN(ll.DGL())])
def test_local_gradients_equal_those_of_blocks_run_by_hand(network, method, ends):
    plain = copy.deepcopy(network)
    truth = model_of(plain, method, ends)
    model = model_of(network, method, ends)
    targets = torch.arange(4)
    for window, objective in zip(truth.windows, truth.objectives, strict=True):
        # Each window by itself: everything before runs without a graph, so both activation and side outputs are cut.
        state = images()
        with torch.no_grad():
            for block in truth.partition.blocks[: window.start]:
                state = block(state)
        loss = None
        for index in range(window.start, window.stop):
            state = truth.partition.blocks[index](_cut_off_sides(state))
        if window.stop == len(truth.partition.blocks):
            loss = truth.task.output_loss(plain, state, targets)
        else:
            features = state[0] if isinstance(state, tuple) else state
            loss = objective(features, Batch(images(), targets)).loss
        (window.weight * loss).backward()
    model.local_backward(images(), targets)
    pairs = zip(model.named_parameters(), truth.parameters(), strict=True)
    for (name, ours), expected in pairs:
        assert (ours.grad is None) == (expected.grad is None), name
        if ours.grad is not None:
            torch.testing.assert_close(ours.grad, expected.grad, rtol=0, atol=1e-12, msg=name)


def _cut_off_sides(state):
    # BatchNorm's running statistics differ between one run and several, gradients do not.
    return (state[0], *(item.detach() for item in state[1:])) if isinstance(state, tuple) else state


def test_the_last_window_reports_loss_and_prediction(network):
    model = model_of(network, ll.DGL())
    outputs = model.local_backward(images(), torch.arange(4), keep_logits=True)
    assert outputs[-1].logits.shape == (4, 5) and not outputs[-1].logits.requires_grad
    assert outputs[-1].loss.shape == () and outputs[-1].terms.keys() == {"output"}
    assert model.local_backward(images(), torch.arange(4))[-1].logits is None


def test_side_outputs_given_by_name_allow_cuts_that_are_illegal_without():
    network = Skipping()
    example = torch.zeros(2, 3)
    without = ll.partition(network, example, num_blocks=1)
    blocks = ll.partition(network, example, num_blocks=4, side_outputs=["first"])
    assert len(without.units) < len(blocks.units) == 4
    ll.LocalModel(blocks, ll.DGL(), ll.Classification(2)).local_backward(torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_side_outputs_that_are_no_modules_are_refused():
    with pytest.raises(InputError, match="has none called 'fist'"):
        ll.partition(Skipping(), torch.zeros(2, 3), num_blocks=2, side_outputs=["fist"])


class Branched(nn.Module):
    """A branch ends in the head; the main path goes on beside it."""

    def __init__(self):
        super().__init__()
        self.stem, self.branch = nn.Sequential(nn.Linear(3, 6), nn.ReLU()), nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        self.next, self.head = nn.Linear(6, 6), nn.Linear(12, 2)

    def forward(self, x):
        stem = self.stem(x)
        branch = self.branch(stem)
        return self.head(torch.cat([self.next(stem), branch], 1))


def test_of_side_outputs_alone_the_one_that_the_next_layer_reads_is_the_activation():
    network = Branched()
    blocks = ll.partition(network, torch.zeros(2, 3), split_points=["branch"], side_outputs=["stem", "branch"])
    inputs = torch.randn(4, 3)
    activation, carried = blocks.blocks[0](inputs)
    torch.testing.assert_close(activation, network.stem(inputs))
    torch.testing.assert_close(carried, network.branch(network.stem(inputs)))


@pytest.mark.parametrize(
    ("side_outputs", "message"), [("first", r"side_outputs=\['first'\]"), ([""], "has none called ''")]
)
def test_side_outputs_of_another_form_are_refused(side_outputs, message):
    with pytest.raises(InputError, match=message):
        ll.partition(Skipping(), torch.zeros(2, 3), num_blocks=2, side_outputs=side_outputs)


def test_blocks_whose_parameters_are_frozen_train_their_heads_alone(network):
    network.body["stem"].requires_grad_(False)
    network.body["stage0"].requires_grad_(False)
    model = model_of(network, ll.DGL())
    model.local_backward(images(), torch.arange(4))
    assert all(p.grad is None for p in network.body["stage0"].parameters())
    assert all(p.grad is not None for p in [*network.body["stage1"].parameters(), *model.objectives.parameters()])
