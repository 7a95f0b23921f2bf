"""How good a network's outputs are, counted batch by batch."""

from locallearn.metrics.average_precision import AveragePrecision
from locallearn.metrics.mean_iou import MeanIoU
from locallearn.metrics.metric import Metric
from locallearn.metrics.top_accuracy import TopAccuracy

__all__ = ["AveragePrecision", "MeanIoU", "Metric", "TopAccuracy"]
