"""PredSim: every block matches the similarities of the labels and predicts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from locallearn.abstract_method import Context, Method, Site, Window, one_window_per_block
from locallearn.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from locallearn.objective import Batch, LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class PredSim(Method):
    r"""Similarity matching and prediction.

    $L_k = (1-\beta)\,\mathrm{CE}(p_k(h_k), y) + \beta\,\frac{1}{B^2}\sum_{ij}(S(s_k(h_k))_{ij} - S(y)_{ij})^2$, where
    $p_k$ is a pooled linear classifier, $s_k$ a 3x3 convolution and $S$ the cosine similarity of the samples.

    Source: Nokland, Eidnes. Training Neural Networks with Local Error Signals. ICML 2019. Authors' code:
        anokland/local-loss, train.py. The default is the form of Ma et al., ICLR 2024 (ChenxiangMA/AugLocal).
    Departures: Blocks are those of the partition; the authors make every single convolution a block. The authors'
        dropout between blocks belongs to the network here. `last_weight` is 0.01 in the authors' code.

    Args:
        head: `"auglocal"`: pooled to at most 512 features, default initialisation. `"original"`: at most 4096,
            classifier weights start at zero.
        beta: Weight of the similarity loss, in [0, 1].
        last_weight: Weight of the network's own output loss.
    """

    head: Literal["auglocal", "original"] = "auglocal"
    beta: float = 0.99
    last_weight: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise InputError(f"PredSim's beta is a share between 0 and 1, not {self.beta}.")
        if not self.last_weight > 0:
            raise InputError(f"PredSim's last_weight must be positive, not {self.last_weight}.")

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        *local, last = one_window_per_block(len(partition.blocks))
        return (*local, last._replace(weight=self.last_weight))

    @override
    def objective(
        self, window: Window, site: Site, context: Context, *, head: nn.Module | None = None
    ) -> LocalObjective:
        from locallearn.auxiliary.pooled_linear import PooledLinear
        from locallearn.auxiliary.similarity_conv import SimilarityConv
        from locallearn.losses.similarity_matching import similarity_matching
        from locallearn.objective import Term, WeightedTerms, prediction_term, require_labels

        task = context.task
        require_labels(task, "PredSim's similarity matching")

        def similarity_loss(output: Tensor, batch: Batch) -> Tensor:
            return similarity_matching(output, task.labels(batch.targets), task.num_outputs)

        original = self.head == "original"
        similarity = (SimilarityConv.original if original else SimilarityConv.auglocal)(site.shape)
        if head is None:
            head = (PooledLinear.original if original else PooledLinear.auglocal)(site.shape, task.num_outputs)
        return WeightedTerms(
            Term("similarity", similarity, similarity_loss, weight=self.beta),
            prediction_term(head, task, weight=1 - self.beta),
        )
