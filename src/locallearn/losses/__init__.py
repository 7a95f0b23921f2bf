"""Local losses as pure functions: tensors in, a scalar out."""

from __future__ import annotations

from locallearn.losses.reconstruction import reconstruction
from locallearn.losses.similarity_matching import similarity_matching, similarity_matrix
from locallearn.losses.supervised_contrastive import supervised_contrastive

__all__ = ["reconstruction", "similarity_matching", "similarity_matrix", "supervised_contrastive"]
