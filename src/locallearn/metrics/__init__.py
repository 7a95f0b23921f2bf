"""How good a network's outputs are, counted batch by batch."""

from locallearn.metrics.metric import Metric
from locallearn.metrics.top_accuracy import TopAccuracy

__all__ = ["Metric", "TopAccuracy"]
