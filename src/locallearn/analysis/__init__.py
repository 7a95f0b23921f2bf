"""What trained networks have learned, block by block: on whatever run folders hold."""

from locallearn.analysis.comparable import opened_together
from locallearn.analysis.trained_run import TrainedRun, opened, opened_all

__all__ = ["TrainedRun", "opened", "opened_all", "opened_together"]
