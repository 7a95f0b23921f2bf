"""What else `BlockParallel` does and refuses, and how it goes with data parallel."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist

import locallearn as ll
from locallearn.errors import TrainingStopped
from locallearn.parallel.layout import Layout
from parallel.cases import CLASSES, COMPARING, METHODS, SIDE, batch_of, gradients, model_of
from parallel.processes import in_processes
from small_networks import residual, stack

SIZES = {"unlike": (4, 2), "alike": (3, 3)}


def grid(rank):
    """Two groups of blocks, and two parts of the batch."""
    found = {}
    layout = Layout(2, 2)
    replica = layout.replica(rank)
    for name in METHODS:
        model = model_of(name, seed=rank).eval()
        parallel = ll.BlockParallel(model, layout, crossing="send_back", gather=name in COMPARING)
        for kind, sizes in SIZES.items():
            share, batch = sizes[replica] / sum(sizes), []
            if parallel.is_first:
                batch = [each.split(sizes)[replica] for each in batch_of(0)]
            model.zero_grad()
            parallel.local_backward(*batch, share=share)
            found[name, kind] = gradients(model)
            model.zero_grad()
        parallel.local_backward(*batch)
        found[name, "no share given"] = gradients(model)
        model.zero_grad()
        for average in (False, True):
            parallel.local_backward(*batch, share=share / 2, average=average)
        found[name, "accumulated"] = gradients(model)
        parallel.close()
    found["place"] = [parallel.stage, parallel.is_first, parallel.is_last]
    found["bypassed"] = said(
        lambda: model.partition.blocks[parallel.blocks.start](example(model, parallel)).sum().backward()
    )
    found["weights"] = trained_on_parts(rank, layout)
    return found


def example(model, parallel):
    shape = (3, SIDE, SIDE) if not parallel.blocks.start else model.partition.infos[parallel.blocks.start - 1].out_shape
    return torch.rand(2, *shape, dtype=torch.float64)


def trained_on_parts(rank, layout):
    model = model_of("dgl+man", seed=rank, dtype=torch.float32)
    parallel = ll.BlockParallel(model, layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for step in range(3):
        batch = batch_of(step, dtype=torch.float32) if parallel.is_first else ()
        parallel.local_backward(*(each.split(3)[layout.replica(rank)] for each in batch))
        optimizer.step()
        optimizer.zero_grad()
        parallel.after_step()
    parallel.close()
    return {name: p.detach() for name, p in model.named_parameters() if not p.is_meta}


def said(attempt):
    try:
        attempt()
    except (ll.InputError, TrainingStopped) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.fixture(scope="module")
def on_a_grid(tmp_path_factory):
    return in_processes(4, tmp_path_factory.mktemp("grid"), grid)


@pytest.mark.parametrize("name", METHODS)
def test_on_a_grid_gradients_are_those_of_the_joined_batch(on_a_grid, name):
    model = model_of(name).eval()
    model.local_backward(*batch_of(0))
    expected = gradients(model)
    for replica in (0, 1):
        column = [on_a_grid[replica], on_a_grid[2 + replica]]
        for kind in (*SIZES, "no share given", "accumulated"):
            first, second = (found[name, kind] for found in column)
            assert (first | second).keys() == expected.keys() and not first.keys() & second.keys()
            for each, gradient in expected.items():
                scale = max(1.0, float(gradient.abs().max()))
                torch.testing.assert_close((first | second)[each] / scale, gradient / scale, rtol=0, atol=1e-12)


def test_processes_of_the_same_blocks_keep_the_same_weights(on_a_grid):
    assert [found["place"] for found in on_a_grid] == [[0, True, False]] * 2 + [[1, False, True]] * 2
    for first in (0, 2):
        one, other = on_a_grid[first]["weights"], on_a_grid[first + 1]["weights"]
        assert one and one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_gradient_past_the_averaging_is_refused_on_a_grid(on_a_grid):
    assert all("computed outside of DataParallel.local_backward" in found["bypassed"] for found in on_a_grid)


def calls(rank):
    found = {}
    model = model_of("dgl+man", seed=rank, dtype=torch.float32)
    parallel = ll.BlockParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def step(index):
        outputs = parallel.local_backward(*(batch_of(index, dtype=torch.float32) if parallel.is_first else ()))
        optimizer.step()
        optimizer.zero_grad()
        parallel.after_step()
        return len(outputs)

    found["outputs of a step"] = [step(0), len(parallel.windows)]
    model.eval()
    batches = [batch_of(index, size, dtype=torch.float32) for index, size in ((5, 4), (6, 1), (7, 3))]
    for way in ("once", "again", "none"):
        given = batches if way != "none" else []
        found[way] = [list(pair) for pair in parallel.outputs(given if parallel.is_first else unread())]
    one = parallel.forward(*(batches[0] if parallel.is_first else ()))
    found["forward"] = None if one is None else list(one)
    model.train()
    step(1)
    if parallel.is_first:
        parallel.close()
    else:
        found["stops"] = parallel.stops()
        parallel.stop()
        found["after the last"] = said(parallel.local_backward)
        parallel.settle()
    found["state"] = {name: t for name, t in model.state_dict().items() if not t.is_meta}
    found["ahead"] = [ahead(rank, queue) for queue in (1, 3)]
    return found


def unread():
    raise AssertionError("a later process reads no batches")
    yield


def ahead(rank, queue):
    """Steps that the first process has finished while messages linger on their way, and while none is taken."""
    store = dist.distributed_c10d._get_default_store()
    key, seen = f"ahead{queue}", []
    let = []

    def linger(_):
        while not let:
            time.sleep(0.01)

    model = model_of("dgl", dtype=torch.float32)
    parallel = ll.BlockParallel(model, queue=queue, arrived=linger if rank == 1 else None)
    count = 3 * queue + 3
    for index in range(count):
        if rank == 1 and index == 0:
            seen.append(settled(store, key))
            let.append(True)
            seen.append(settled(store, key))
        parallel.local_backward(*(batch_of(index, dtype=torch.float32) if parallel.is_first else ()))
        if rank == 0:
            store.set(key, str(index + 1))
    parallel.close()
    return seen


def settled(store, key):
    """A number that another process counts up, once it has not grown for a while."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 0.7:
        now = int(store.get(key)) if store.check([key]) else 0
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.02)
    return seen


@pytest.fixture(scope="module")
def called(tmp_path_factory):
    return in_processes(3, tmp_path_factory.mktemp("calls"), calls)


def test_the_network_is_asked_through_all_processes(called):
    model = model_of("dgl+man", dtype=torch.float32)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model.local_backward(*batch_of(0, dtype=torch.float32))
    optimizer.step()
    optimizer.zero_grad()
    model.after_step()
    model.eval()
    batches = [batch_of(index, size, dtype=torch.float32) for index, size in ((5, 4), (6, 1), (7, 3))]
    with torch.no_grad():
        expected = [(model(inputs), targets) for inputs, targets in batches]
    for way in ("once", "again"):
        assert called[0][way] == called[1][way] == []
        for (output, targets), (logits, labels) in zip(called[2][way], expected, strict=True):
            assert torch.equal(output, logits) and torch.equal(targets, labels)
    assert called[2]["none"] == [] and called[0]["forward"] is called[1]["forward"] is None
    assert all(map(torch.equal, called[2]["forward"], expected[0]))
    model.train()
    model.local_backward(*batch_of(1, dtype=torch.float32))
    optimizer.step()
    model.after_step()
    for found in called:
        assert found["outputs of a step"][0] == found["outputs of a step"][1] > 0
        for name, values in found["state"].items():
            assert torch.equal(values, model.state_dict()[name]), name


def test_the_end_is_passed_on(called):
    for found in called[1:]:
        assert found["stops"] is True
        assert found["after the last"].startswith("TrainingStopped: The process before this one sends no more batches")


def test_the_first_process_is_ahead_by_no_more_than_the_queue_allows(called):
    # One lingers and `queue` are under way; then `queue` wait for their use and `queue` are under way.
    assert called[1]["ahead"] == [[1 + 1, 1 + 1], [1 + 3, 3 + 3]]


SEGMENTERS = {"dgl": ll.DGL(), "infopro": ll.InfoPro(task_loss="cross_entropy", feature_dim=8)}


def segmenter(method, seed=0):
    torch.manual_seed(seed)
    network = stack([4, 6, 6, 8], strides=[1, 2, 1, 1], dtype=torch.float32)
    del network.pool, network.flatten, network.linear
    network.add_module("logits", torch.nn.Conv2d(8, CLASSES, 1))
    blocks = ll.partition(network, torch.zeros(2, 3, SIDE, SIDE), num_blocks=3)
    model = ll.LocalModel(blocks, SEGMENTERS[method], ll.Segmentation(CLASSES))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0  # every process draws numbers of its own
    return model


def maps_of(step):
    generator = torch.Generator().manual_seed(step)
    labels = torch.randint(CLASSES, (4, SIDE, SIDE), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < 0.2] = 255
    return torch.rand(4, 3, SIDE, SIDE, generator=generator), labels


def segmenting(rank):
    found = {}
    for method in SEGMENTERS:
        model = segmenter(method, seed=rank)
        parallel = ll.BlockParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for step in range(3):
            parallel.local_backward(*(maps_of(step) if parallel.is_first else ()))
            optimizer.step()
            optimizer.zero_grad()
        parallel.close()
        found[method] = {name: t for name, t in model.state_dict().items() if not t.is_meta}
    found["refused"] = refused(rank)
    return found


def refused(rank):
    messages = {}
    make = ll.BlockParallel
    messages["mistakes"] = said(lambda: make(model_of("dgl"), Layout(3, 1), queue=0, exchange_every=0))
    messages["borders"] = said(lambda: make(model_of("mlaan")))
    tied = model_of("dgl")
    tied.network.norm2.weight = tied.network.norm1.weight
    messages["tied"] = said(lambda: make(tied))
    model = ll.LocalModel(
        ll.partition(residual(3), torch.zeros(2, 3, SIDE, SIDE, dtype=torch.float64), num_blocks=2),
        ll.DGL(),
        ll.Classification(CLASSES),
    )
    parallel = make(model)
    inputs, targets = batch_of(0)
    if rank:
        messages["batch"] = said(lambda: parallel.local_backward(inputs, targets))
        messages["targets"] = said(lambda: parallel.local_backward(targets=targets))
    else:
        messages["lists"] = said(lambda: parallel.local_backward(list(inputs), list(targets)))
        messages["nothing"] = said(parallel.local_backward)
        messages["labels"] = said(lambda: parallel.local_backward(inputs, targets.float()))
    # Nothing was sent by what was refused: the next batch is trained as ever.
    parallel.local_backward(*((inputs, targets) if rank == 0 else ()))
    parallel.close()
    return messages


@pytest.fixture(scope="module")
def segmented(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("segmented"), segmenting)


@pytest.mark.parametrize("method", SEGMENTERS)
def test_label_maps_go_along(segmented, method):
    model = segmenter(method)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for step in range(3):
        model.local_backward(*maps_of(step))
        optimizer.step()
        optimizer.zero_grad()
    state = model.state_dict()
    assert segmented[0][method].keys() | segmented[1][method].keys() == state.keys()
    for found in segmented:
        assert all(torch.equal(values, state[name]) for name, values in found[method].items())


def test_what_cannot_be_divided_is_refused_in_every_process(segmented):
    for found in segmented:
        messages = found["refused"]
        for words in ("blocks=3,data=1 is for 3 processes, and there are 2", "queue must be", "exchange_every must be"):
            assert words in messages["mistakes"]
        assert "4 blocks cannot be divided, and" in messages["borders"]
        assert "is used by blocks of two processes" in messages["tied"]


def test_batches_in_the_wrong_place_or_form_are_refused(segmented):
    first, second = (found["refused"] for found in segmented)
    for key in ("batch", "targets"):
        assert (
            "read by the first process alone" in second[key] and "call local_backward() without a batch" in second[key]
        )
    for key in ("lists", "nothing"):
        assert "needs inputs and targets as tensors; for detectors" in first[key]
    assert first["labels"].startswith("InputError")
