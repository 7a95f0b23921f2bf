"""The task of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from locallearn.tasks.task import Task

if TYPE_CHECKING:
    from locallearn.datasets.spec import DatasetSpec


def task_of(spec: DatasetSpec) -> Task:
    """What a network learns from a data set.

    Args:
        spec: Names the task and has its classes.

    Returns:
        The task.
    """
    classes = len(spec.classes)
    match spec.task:
        case "classification":
            from locallearn.tasks.classification import Classification

            return Classification(classes)
        case "segmentation":
            from locallearn.tasks.segmentation import Segmentation

            return Segmentation(classes)
        case "detection":
            from locallearn.tasks.detection import Detection

            return Detection(classes)
