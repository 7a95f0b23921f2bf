"""Training of complete recipes: a convenience over `LocalModel`, with checkpoints, metrics and evaluation."""

from locallearn.training.evaluation import evaluate
from locallearn.training.network_file import load_network, save_network
from locallearn.training.progress import Bar, Lines, Progress, Silent, for_stream
from locallearn.training.summary import Summary
from locallearn.training.train import train
from locallearn.training.train_seeds import train_seeds

__all__ = [
    "Bar",
    "Lines",
    "Progress",
    "Silent",
    "Summary",
    "evaluate",
    "for_stream",
    "load_network",
    "save_network",
    "train",
    "train_seeds",
]
