"""What is sent arrives as it was: numbers, types, and how they lie in memory."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist

from locallearn.errors import InputError, TrainingStopped
from locallearn.parallel.channel import HEADER_BYTES, Message, Receiver, Sender
from locallearn.parallel.memory_order import dense_strides, in_memory_order
from locallearn.parallel.watch import Watch
from parallel.processes import in_processes

DEPTH = 2
DTYPES = [
    torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.uint8, torch.bool,
]  # fmt: skip


def numbers(*shape, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape))).mul(9).to(dtype)


def tensors():
    base = numbers(2, 3, 4, 5)
    return [
        base,
        base.contiguous(memory_format=torch.channels_last),
        base.transpose(1, 3),
        base[:, 1:],
        base[:, :, ::2],
        base[:1].expand(4, 3, 4, 5),
        base[1, 2],
        torch.tensor(3.5),
        torch.empty(0, 3),
        torch.empty(2, 0, 4).transpose(0, 2),
        base.clone().requires_grad_() * 2,
    ]


def messages():
    return [
        *(Message((numbers(3, 4, dtype=dtype), None)) for dtype in DTYPES),
        *(Message((tensor,)) for tensor in tensors()),
        Message((numbers(2, 2), 3, None, (4, 5), -1.5, True, numbers(4, dtype=torch.int64))),
        Message(()),
    ]


def plain(items):
    return [(i, list(i.stride()), i.requires_grad) if isinstance(i, torch.Tensor) else i for i in items]


def pair(rank, watch, **options):
    """The sender in the first process, the receiver in the second."""
    group = dist.new_group([0, 1])
    if rank == 0:
        return Sender(1, group, depth=DEPTH, watch=watch, **options)
    return Receiver(0, group, device=torch.device("cpu"), depth=DEPTH, watch=watch, **options)


def talk(rank):
    watch = Watch(None, rank, 2, 20)
    found = {}
    end = pair(rank, watch)
    if rank == 0:
        for message in messages():
            end.send(message)
        end.send(Message((), last=True))
        end.finish()
    else:
        peeked = [end.peek().last, end.peek() is end.peek()]
        received = [end.take() for _ in messages()]
        found["messages"] = [plain(message.items) for message in received]
        found["kinds"] = [str([type(item).__name__ for item in message.items]) for message in received]
        found["last"] = [*peeked, any(message.last for message in received), end.take().last]
    sizes = []
    end = pair(rank, watch, **({"transfer": torch.bfloat16} if rank == 0 else {"arrived": sizes.append}))
    if rank == 0:
        end.send(Message((numbers(5, 6), numbers(5, 6), 2)))
        end.send(Message((numbers(3, dtype=torch.int64), None)))
        end.send(Message((), last=True))
        end.finish()
    else:
        received = [end.take() for _ in range(3)]
        found["narrow"] = [plain(message.items) for message in received[:2]]
        found["sizes"] = sizes
    found["bound"] = bound(rank, watch)
    found["refused"] = refused(pair(rank, watch)) if rank == 0 else pair(rank, watch) and []
    return found


def bound(rank, watch):
    """How many messages could be sent before any was taken, and after one was."""
    sent, store = [], dist.distributed_c10d._get_default_store()
    end = pair(rank, watch)
    total = 4 * DEPTH
    if rank == 0:
        for index in range(total):
            end.send(Message((torch.tensor([index]),)))
            store.set("sent", str(index + 1))
        end.finish()
        return []
    for taken in range(3):
        sent.append(settled(store))
        assert end.take().items[0].item() == taken
    order = [end.take().items[0].item() for _ in range(3, total)]
    return [*sent, order == list(range(3, total))]


def settled(store):
    """The number of messages sent, once it has not grown for a while."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < 0.4:
        now = int(store.get("sent")) if store.check(["sent"]) else 0
        if now != seen:
            seen, since = now, time.monotonic()
        time.sleep(0.02)
    return seen


def refused(sender):
    said = []
    for item in (torch.zeros(2, dtype=torch.complex64), object(), tuple(range(HEADER_BYTES))):
        try:
            sender.send(Message((item,)))
        except InputError as error:
            said.append(str(error))
    return said


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return in_processes(2, tmp_path_factory.mktemp("channel"), talk)


def test_every_type_and_layout_arrives_as_it_was(told):
    for received, kinds, message in zip(told[1]["messages"], told[1]["kinds"], messages(), strict=True):
        assert kinds == str([type(item).__name__ for item in message.items])
        for arrived, item in zip(received, message.items, strict=True):
            if not isinstance(item, torch.Tensor):
                assert arrived == item and type(arrived) is type(item)
                continue
            values, stride, learns = arrived
            assert (values.dtype, values.shape, learns) == (item.dtype, item.shape, False)
            assert torch.equal(values, item)
            dense = item.stride() == dense_strides(item)
            assert stride == list(item.stride() if dense else item.contiguous().stride())


def test_the_first_item_alone_travels_narrower_and_comes_out_as_it_was(told):
    (first, second, number), (whole, _) = told[1]["narrow"]
    assert first[0].dtype == torch.float32 and number == 2
    assert torch.equal(first[0], numbers(5, 6).bfloat16().float()) and not torch.equal(first[0], numbers(5, 6))
    assert torch.equal(second[0], numbers(5, 6)) and torch.equal(whole[0], numbers(3, dtype=torch.int64))


def test_each_message_is_told_with_its_bytes(told):
    assert told[1]["sizes"] == [5 * 6 * 2 + 5 * 6 * 4, 3 * 8, 0]


def test_a_message_says_whether_it_is_the_last(told):
    assert told[1]["last"] == [False, True, False, True]


def test_the_sender_is_ahead_by_so_many_that_wait_and_so_many_under_way(told):
    assert told[1]["bound"] == [2 * DEPTH, 2 * DEPTH + 1, 2 * DEPTH + 2, True]


def test_what_cannot_be_sent_is_refused(told):
    for said, words in zip(told[0]["refused"], ("torch.complex64 cannot be sent", "numbers or None", "too many values"),
                           strict=True):  # fmt: skip
        assert words in said


def test_silence_is_said_within_the_timeout(tmp_path):
    found = in_processes(2, tmp_path, silence)
    assert "lost each other while activations were awaited" in found[1] and "none for 0.3 s" in found[1]
    assert "lost each other while activations were sent" in found[0]


def silence(rank):
    watch = Watch(None, rank, 2, 0.3)
    nothing_sent, nothing_taken = pair(rank, watch), pair(rank, watch)
    try:
        if rank == 1:
            nothing_sent.take()
        else:
            for _ in range(2 * DEPTH + 1):
                nothing_taken.send(Message((torch.zeros(2),)))
    except TrainingStopped as error:
        return str(error)
    return "no error"


@pytest.mark.parametrize("values", tensors()[:3] + tensors()[6:], ids=str)
def test_memory_order_is_a_view_of_all_numbers(values):
    values = values.detach()
    flat = in_memory_order(values)
    assert flat.shape == (values.numel(),) and flat.data_ptr() == values.data_ptr()
    assert torch.equal(flat.sort().values, values.flatten().sort().values)
    assert torch.equal(flat.as_strided(values.shape, values.stride(), flat.storage_offset()), values)
