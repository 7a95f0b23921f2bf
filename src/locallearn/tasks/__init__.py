"""What a network is trained for."""

from locallearn.tasks.classification import Classification
from locallearn.tasks.detection import Detection
from locallearn.tasks.segmentation import Segmentation
from locallearn.tasks.task import Task

__all__ = ["Classification", "Detection", "Segmentation", "Task"]
