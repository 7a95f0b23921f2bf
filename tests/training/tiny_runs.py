"""Networks, recipes and interruptions small enough to train in a fraction of a second."""

from __future__ import annotations

import math
import os
import signal
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from locallearn.abstract_method import Method, one_window_per_block
from locallearn.objective import WeightedTerms, prediction_term
from locallearn.recipes.recipe import Recipe
from locallearn.training import Silent


def convolutions(num_classes, channels=4, dropout=0.3):
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(4 * channels, num_classes),
    )


def still(num_classes):
    """Draws no random numbers."""
    return convolutions(num_classes, dropout=0.0)


def drawing_thrice(num_classes):
    layers = [nn.Sequential(nn.Conv2d(size, 4, 3, padding=1), nn.ReLU(), nn.Dropout(0.3)) for size in (3, 4, 4)]
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, num_classes))


def without_statistics(num_classes):
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16, num_classes),
    )


def one_output(num_classes):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(4, 1))


def needs_grey(num_classes):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(4, num_classes))


REASON = AssertionError("Wrong image height!")


class Asserting(nn.Linear):
    """Takes nothing, and says so in a way of its own."""

    def forward(self, x):
        raise REASON


def asserting(num_classes):
    return Asserting(1, num_classes)


def valued(num_classes):
    """Reads a value of a tensor while it is built, as timm's transformers do."""
    width = int(torch.linspace(0, 8, 3)[1].item())
    layers = nn.Conv2d(3, width, 3), nn.ReLU(), nn.Conv2d(width, width, 3), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(width * 16, num_classes))


def recipe(*, network="convolutions", method=None, dataset=None, training=None, device="cpu", **fields):
    return Recipe.model_validate(
        {
            "title": "a tiny run",
            "seed": 3,
            "device": device,
            "dataset": {"name": "digits", "augmentation": {"pad": 1, "padding": "zeros", "flip": True}}
            | (dataset or {}),
            "network": {"name": f"training.tiny_runs:{network}"} if isinstance(network, str) else network,
            "partition": {"num_blocks": 2},
            "method": method or {"name": "dgl"},
            "training": {"epochs": 2, "lr": 0.05, "batch_size": 200} | (training or {}),
            **fields,
        }
    )


@dataclass(frozen=True, kw_only=True)
class LinearHeads(Method):
    """Plain local learning whose heads have no batch statistics."""

    def windows(self, partition):
        return one_window_per_block(len(partition))

    def objective(self, window, site, context, *, head=None):
        linear = nn.Linear(math.prod(site.shape), context.task.num_outputs)
        return WeightedTerms(prediction_term(nn.Sequential(nn.Flatten(), linear), context.task))


class Hostile:
    """Makes a file when unpickled carelessly."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


class SignalAt(Silent):
    """Sends this process a signal once a step is made."""

    def __init__(self, step, number=signal.SIGTERM):
        self.at, self.number = step, number

    def step(self, done):
        if done == self.at:
            os.kill(os.getpid(), self.number)


class KilledAfterLogging(Silent):
    """Kills this process when an epoch is in the log but in no checkpoint."""

    def __init__(self, epoch):
        self.at = epoch

    def epoch(self, record, epochs):
        if record["epoch"] == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


class Heard(Silent):
    """Remembers what it was told."""

    def __init__(self):
        self.titles, self.steps, self.records, self.notes = [], [], [], []

    def begin(self, title, *, done, steps):
        self.titles.append(title)

    def step(self, done):
        self.steps.append(done)

    def epoch(self, record, epochs):
        self.records.append(record)

    def note(self, message):
        self.notes.append(message)


def in_child(work):
    """Run `work` in a fork, which has torch loaded already; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            work()
            code = 0
        except SystemExit as request:
            code = request.code
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def same_state(one, other):
    """Whether two checkpoints' contents agree to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_state, one, other))
    return one == other
