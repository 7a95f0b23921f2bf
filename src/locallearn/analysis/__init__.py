"""What trained networks have learned, block by block: on whatever run folders hold, or on models of your own loop."""

from locallearn.analysis.block_features import block_outputs, pooled_features
from locallearn.analysis.cka import MinibatchCKA, similarity
from locallearn.analysis.comparable import opened_together
from locallearn.analysis.early_exits import early_exits
from locallearn.analysis.feature_maps import feature_maps
from locallearn.analysis.gradient_agreement import gradient_agreement
from locallearn.analysis.probe import linear_probe
from locallearn.analysis.trained_run import TrainedRun, opened, opened_all

__all__ = [
    "MinibatchCKA",
    "TrainedRun",
    "block_outputs",
    "early_exits",
    "feature_maps",
    "gradient_agreement",
    "linear_probe",
    "opened",
    "opened_all",
    "opened_together",
    "pooled_features",
    "similarity",
]
