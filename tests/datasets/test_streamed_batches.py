from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from locallearn.datasets import streamed_batches
from locallearn.datasets.batches import Batches, Part
from locallearn.datasets.image_set import ImageSet
from locallearn.datasets.spec import Augmentation, DatasetSpec
from locallearn.datasets.streamed_batches import StreamedBatches
from locallearn.errors import InputError, TrainingStopped

COUNT = 23


class Decoded:
    """Images that say which one they are, with a label map for each; remembers which were asked for."""

    classes = ("a", "b")

    def __init__(self, refused: int | None = None, error: Exception | None = None) -> None:
        self.refused, self.error, self.asked = refused, error, list[int]()

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.asked.append(index)
        if index == self.refused and self.error:
            raise self.error
        return torch.full((3, 4, 6), index, dtype=torch.uint8), torch.full((4, 6), index)


class Detected(Decoded):
    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        return torch.full((3, 4 + index, 6), index, dtype=torch.uint8), {"labels": torch.tensor([index]), "image_id": 7}


class Killed(Decoded):
    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


def noisy(image: Tensor, target: Any) -> tuple[Tensor, Any]:
    return image.float() + torch.rand(image.shape), target


def plain(image: Tensor, target: Any) -> tuple[Tensor, Any]:
    return image.float(), target


@pytest.fixture(autouse=True)
def threads_and_workers():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def streamed(samples: Any = None, *, transform: Any = noisy, workers: int = 0, size: int = 5, **options: Any):
    settings = {"seed": 3, "device": "cpu", "shuffle": True} | options
    return StreamedBatches(samples or Decoded(), size, transform=transform, workers=workers, **settings)


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in zip(one, other, strict=True))


def test_workers_change_nothing_in_any_epoch_nor_from_the_middle() -> None:
    alone = streamed()
    for workers in (1, 2):
        batches = streamed(workers=workers)
        for epoch in (0, 1):
            assert same(alone.epoch(epoch), batches.epoch(epoch))
        assert same(list(alone.epoch(1))[3:], batches.epoch(1, start=3))
        batches.close()


def test_samples_are_seeded_by_seed_epoch_and_index_alone() -> None:
    seen = {}
    for inputs, targets in streamed(size=5).epoch(0):
        seen |= {int(target[0, 0]): image for image, target in zip(inputs, targets, strict=True)}
    for options in ({"size": 7}, {"shuffle": False}):
        for inputs, targets in streamed(**options).epoch(0):  # type: ignore[arg-type]
            assert all(torch.equal(seen[int(y[0, 0])], x) for x, y in zip(inputs, targets, strict=True))
    others = [streamed(seed=4).epoch(0), streamed().epoch(1)]
    drawn = [torch.cat([x - y[:, None] for x, y in batches]) for batches in (streamed().epoch(0), *others)]
    noises = [{tuple(noise.flatten()[:5].tolist()) for noise in batch} for batch in drawn]
    assert len(noises[0] | noises[1] | noises[2]) == 3 * COUNT


def test_the_order_is_that_of_images_in_memory(small: DatasetSpec) -> None:
    pixels = torch.arange(COUNT, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, *small.shape)
    images = ImageSet(pixels, torch.arange(COUNT) % 2, small.classes)
    batches = Batches(images, 5, spec=small, seed=3, augmentation=None, device="cpu", shuffle=True)
    for epoch in (0, 2):
        orders = [batches._order(epoch).tolist(), torch.cat([y[:, 0, 0] for _, y in streamed().epoch(epoch)]).tolist()]
        assert orders[0] == orders[1] != list(range(COUNT))


@pytest.mark.parametrize("workers", [0, 2])
def test_the_global_random_state_is_left_alone_and_does_not_matter(workers: int) -> None:
    batches, before = streamed(workers=workers), torch.get_rng_state()
    first = list(batches.epoch(0))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert same(first, batches.epoch(0))
    batches.close()


def test_what_came_before_the_start_is_not_decoded() -> None:
    samples = Decoded()
    rest = list(streamed(samples).epoch(2, start=3))
    assert len(rest) == 2 and len(samples.asked) == COUNT - 15
    assert list(streamed(samples).epoch(2, start=5)) == [] and len(samples.asked) == COUNT - 15
    with pytest.raises(InputError, match="batch 6"):
        streamed().epoch(0, start=6)


@pytest.mark.parametrize(("count", "workers"), [(1, 0), (2, 0), (3, 2)])
def test_shares_of_every_batch_make_the_batch(count: int, workers: int) -> None:
    shares = [streamed(workers=workers, rows=Part(index, count)) for index in range(count)]
    given = [list(batches.epoch(1, start=2)) for batches in shares]
    for (inputs, targets), *parts in zip(streamed().epoch(1, start=2), *given, strict=True):
        assert torch.equal(torch.cat([x for x, _ in parts]), inputs)  # varied alike, too
        assert torch.equal(torch.cat([y for _, y in parts]), targets)
    for batches in shares:
        batches.close()


@pytest.mark.parametrize(("count", "start"), [(2, 0), (2, 1), (3, 2), (7, 0)])
def test_batches_that_are_dealt_out_are_each_given_and_decoded_once(count: int, start: int) -> None:
    whole = list(streamed().epoch(1, start=start))
    samples = Decoded()
    hands = [list(streamed(samples, dealt=Part(index, count)).epoch(1, start=start)) for index in range(count)]
    assert sum(map(len, hands)) == len(whole) == 5 - start
    assert len(samples.asked) == len(set(samples.asked)) == COUNT - 5 * start
    for place, (inputs, targets) in enumerate(whole):
        dealt = hands[place % count][place // count]
        assert torch.equal(dealt[0], inputs) and torch.equal(dealt[1], targets)


def test_an_epoch_left_in_the_middle_disturbs_no_other() -> None:
    batches = streamed(workers=2)
    next(batches.epoch(0))
    assert same(streamed().epoch(1), batches.epoch(1))
    batches.close()


def test_a_last_smaller_batch_is_kept_or_dropped() -> None:
    for drop_last, sizes in ((False, [5, 5, 5, 5, 3]), (True, [5, 5, 5, 5])):
        batches = streamed(drop_last=drop_last)
        assert [len(x) for x, _ in batches.epoch(0)] == sizes
        assert (len(batches), batches.count) == (len(sizes), sum(sizes))
    assert len(streamed(size=COUNT, drop_last=True)) == 1


def test_images_in_memory_drop_a_last_batch_likewise(small: DatasetSpec) -> None:
    pixels = torch.zeros(COUNT, *small.shape, dtype=torch.uint8)
    images = ImageSet(pixels, torch.arange(COUNT) % 2, small.classes)
    common: dict[str, Any] = {"spec": small, "seed": 0, "device": "cpu", "shuffle": True, "drop_last": True}
    batches = Batches(images, 5, augmentation=Augmentation(pad=0, padding="zeros", flip=False), **common)
    assert [len(y) for _, y in batches.epoch(0)] == [5, 5, 5, 5]
    assert (len(batches), batches.count, batches.device.type) == (4, 20, "cpu")
    with pytest.raises(InputError, match="batch_size 24 is more than the 23 images"):
        Batches(images, 24, augmentation=None, **common)


@pytest.mark.parametrize("workers", [0, 2])
def test_lists_keep_every_images_size(workers: int) -> None:
    batches = streamed(Detected(), transform=plain, workers=workers, as_lists=True, shuffle=False)
    inputs, targets = next(batches.epoch(0))
    assert [tuple(image.shape) for image in inputs] == [(3, 4 + index, 6) for index in range(5)]
    assert [int(target["labels"]) for target in targets] == list(range(5)) and targets[0]["image_id"] == 7
    batches.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_can_be_given_by_sizes(workers: int) -> None:
    sides = (4, 4, 6, 4, 6, 6)
    images = [(torch.full((3, side, 5), index, dtype=torch.uint8), index) for index, side in enumerate(sides)]
    batches = streamed(images, size=4, transform=plain, workers=workers, by_size=True, shuffle=False)
    given = list(batches.epoch(0))
    assert [targets.tolist() for _, targets in given] == [[0, 1], [2], [3], [4, 5]]
    assert [inputs.shape[2] for inputs, _ in given] == [4, 6, 4, 6]
    assert all(torch.equal(inputs[:, 0, 0, 0].long(), targets) for inputs, targets in given)
    batches.close()


def test_images_of_different_sizes_are_no_batch() -> None:
    with pytest.raises(InputError, match=r"different sizes \(\(3, 4, 6\), \(3, 5, 6\)\)"):
        next(streamed(Detected(), transform=plain, shuffle=False).epoch(0))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("/data/7.png is no image."), "/data/7.png is no image."),
        (FileNotFoundError(2, "No such file", "7.png"), "Sample 7 of the data set cannot be read .*7.png"),
    ],
)
def test_what_a_worker_refuses_arrives_as_its_one_message(workers: int, error: Exception, words: str) -> None:
    batches = streamed(Decoded(7, error), workers=workers, shuffle=False)
    epoch = batches.epoch(0)
    next(epoch)
    with pytest.raises(InputError, match=words) as caught:
        next(epoch)
    assert "Traceback" not in str(caught.value) and "\n" not in str(caught.value)
    batches.close()


def test_a_worker_that_is_killed_is_told_with_the_remedy() -> None:
    batches = streamed(Killed(), workers=1, shuffle=False)
    with pytest.raises(TrainingStopped, match=r"ended from outside .*dataset\.workers"):
        list(batches.epoch(0))
    batches.close()


def workers_of(batches: StreamedBatches) -> list[int]:
    iterator: Any = batches._loader._iterator
    return [worker.pid for worker in iterator._workers]


def alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().split()[2] != "Z"


def test_workers_leave_signals_to_the_run_and_end_with_close() -> None:
    batches = streamed(workers=2)
    epoch = batches.epoch(0)
    next(epoch)
    pids = workers_of(batches)
    for pid in pids:
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(pid, number)
    time.sleep(0.05)
    assert len(list(epoch)) == 4 and all(map(alive, pids))
    batches.close()
    assert not any(map(alive, pids))
    assert same(batches.epoch(0), streamed().epoch(0))  # new ones are started when they are needed
    batches.close()


def test_a_signal_while_workers_start_does_not_end_them(monkeypatch: pytest.MonkeyPatch) -> None:
    started, initialized = streamed_batches._started, streamed_batches._leave_signals

    def signalled(loader: Any) -> Any:
        iterator = started(loader)
        for pid in workers_of(batches):
            os.kill(pid, signal.SIGTERM)
        return iterator

    def late(worker: int) -> None:
        time.sleep(0.3)
        initialized(worker)

    monkeypatch.setattr(streamed_batches, "_started", signalled)
    monkeypatch.setattr(streamed_batches, "_leave_signals", late)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    batches = streamed(workers=2)
    assert len(list(batches.epoch(0))) == 5
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    batches.close()


def test_workers_end_with_a_process_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "pids"
    child = os.fork()
    if child == 0:
        batches = streamed(workers=1)
        next(batches.epoch(0))
        told.write_text(str(workers_of(batches)[0]))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 15
    while alive(int(told.read_text())) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(int(told.read_text()))


def test_batches_that_were_not_closed_do_not_keep_their_process() -> None:
    code = (
        "import torch\n"
        "from locallearn.datasets.streamed_batches import StreamedBatches\n"
        "class Decoded(list): classes = ('a', 'b')\n"
        "samples = Decoded((torch.zeros(3, 2, 2), 0) for _ in range(9))\n"
        "kept = StreamedBatches(samples, 2, transform=lambda x, y: (x, y), seed=0, device='cpu', shuffle=True, "
        "workers=1)\n"
        "epoch = kept.epoch(0)\n"
        "next(epoch)\n"
        "raise SystemExit(3)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 3


def test_all_mistakes_at_once() -> None:
    with pytest.raises(InputError) as caught:
        streamed(size=0, seed=-1, workers=-1)
    for said in ("batch_size must be at least 1", "seed must be", "workers must be at least 0, not -1"):
        assert said in str(caught.value)
    with pytest.raises(InputError, match="batch_size 24 is more than the 23 samples"):
        streamed(size=24, drop_last=True)
