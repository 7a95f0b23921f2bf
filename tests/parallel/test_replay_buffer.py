"""What is read is what a plain search finds: least read, then newest."""

from __future__ import annotations

import random
import threading
import time

import pytest
import torch

import locallearn as ll
from locallearn.parallel.replay_buffer import ReplayBuffer


def plain_choice(log, capacity, max_uses):
    """From everything that was ever written or read, what is to be read now."""
    written = [value for event, value in log if event == "put"]
    best = None
    for value in written[-capacity:]:
        uses = log.count(("read", value))
        if (max_uses is None or uses < max_uses) and (best is None or uses <= log.count(("read", best))):
            best = value
    return best


@pytest.mark.parametrize("max_uses", [None, 1, 3])
@pytest.mark.parametrize("capacity", [1, 2, 4, 7])
def test_reads_equal_a_plain_search(capacity, max_uses):
    choose = random.Random(f"{capacity} {max_uses}")
    for share_of_reads in (0.2, 0.5, 0.8):
        buffer, log = ReplayBuffer(capacity, max_uses=max_uses), []
        for number in range(120):
            if choose.random() > share_of_reads:
                buffer.put(number)
                log.append(("put", number))
                continue
            expected = plain_choice(log, capacity, max_uses)
            if expected is None:
                with pytest.raises(TimeoutError):
                    buffer.read()
            else:
                assert buffer.read() == expected
                log.append(("read", expected))
            assert len(buffer) == min(capacity, sum(event == "put" for event, _ in log))


def test_the_newest_first_where_the_released_code_begins_with_the_oldest():
    buffer = ReplayBuffer(4)
    for number in range(6):
        buffer.put(number)
    assert [buffer.read() for _ in range(8)] == [5, 4, 3, 2, 5, 4, 3, 2]


def test_a_new_batch_is_read_until_it_is_as_worn_as_the_others():
    buffer = ReplayBuffer(2)
    buffer.put("old")
    assert [buffer.read() for _ in range(3)] == ["old"] * 3
    buffer.put("new")
    assert [buffer.read() for _ in range(5)] == ["new", "new", "new", "new", "old"]


def test_what_is_held_has_no_graph_and_the_same_memory():
    weight = torch.ones(3, requires_grad=True)
    made = weight * 2
    buffer = ReplayBuffer(1)
    buffer.put(((made, None, 4), [{"boxes": made}], torch.arange(3)))
    (state, kept, number), (target,), labels = buffer.read()
    assert not state.requires_grad and state.grad_fn is None and not target["boxes"].requires_grad
    assert state.data_ptr() == made.data_ptr() and (kept, number) == (None, 4)
    assert torch.equal(labels, torch.arange(3)) and made.requires_grad


@pytest.mark.parametrize("max_uses", [None, 1])
def test_reading_waits_for_a_batch_that_another_thread_writes_and_no_longer(max_uses):
    buffer, stored = ReplayBuffer(2, max_uses=max_uses), ReplayBuffer(2)
    stored.put("stored")
    state = stored.state_dict()
    start = time.monotonic()
    threading.Timer(0.05, buffer.put, ["late"]).start()
    assert buffer.read(timeout=60) == "late"
    if max_uses is not None:
        threading.Timer(0.05, buffer.load_state_dict, [state]).start()
        assert buffer.read(timeout=60) == "stored"
    assert time.monotonic() - start < 30


def test_reading_gives_up_after_the_timeout():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"within 0\.05 s; the buffer holds 0"):
        ReplayBuffer(2).read(timeout=0.05)
    assert time.monotonic() - start >= 0.05


def test_a_writing_and_a_reading_thread_lose_nothing():
    buffer = ReplayBuffer(1000, max_uses=1)
    writer = threading.Thread(target=lambda: [buffer.put(number) for number in range(1000)])
    writer.start()
    found = [buffer.read(timeout=30) for _ in range(1000)]
    writer.join()
    assert sorted(found) == list(range(1000))


@pytest.mark.parametrize("before", [0, 3, 9])
def test_a_stored_buffer_goes_on_in_the_same_order(before, tmp_path):
    straight = ReplayBuffer(4)
    for number in range(before):
        straight.put((torch.full((2,), number), {"targets": number}))
        straight.read()
    torch.save(straight.state_dict(), tmp_path / "buffer.pt")
    resumed = ReplayBuffer(4)
    resumed.put("something else")
    resumed.load_state_dict(torch.load(tmp_path / "buffer.pt", weights_only=True))
    for buffer in (straight, resumed):
        buffer.put((torch.full((2,), 99), {"targets": 99}))
    found = [[buffer.read()[1]["targets"] for _ in range(12)] for buffer in (straight, resumed)]
    assert found[0] == found[1] and len(resumed) == len(straight)


def test_a_state_does_not_change_when_training_goes_on():
    buffer = ReplayBuffer(2)
    buffer.put(0)
    state = buffer.state_dict()
    buffer.read()
    buffer.put(1)
    assert state == {"slots": [(0, 0)]}


def test_what_does_not_fit_is_refused():
    with pytest.raises(ll.InputError, match=r"capacity must be .* not 0.(?s:.*)max_uses must be .* not 1.5"):
        ReplayBuffer(0, max_uses=1.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ll.InputError, match="capacity must be a whole number of at least 1, not True"):
        ReplayBuffer(True)
    full = ReplayBuffer(3)
    for number in range(3):
        full.put(number)
    with pytest.raises(ll.InputError, match="holds 3 mini-batches and this one has a capacity of 2"):
        ReplayBuffer(2).load_state_dict(full.state_dict())
