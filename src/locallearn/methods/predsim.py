"""PredSim: every block matches the similarities of the labels and predicts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from locallearn.abstract_method import Context, Site, Window, one_window_per_block
from locallearn.errors import InputError
from locallearn.predicting import Predicting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from locallearn.abstract_method import Head
    from locallearn.objective import Batch, LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class PredSim(Predicting):
    r"""Similarity matching and prediction.

    .. math::
        L_k = (1-\beta)\,\mathrm{CE}(p_k(h_k), y) + \beta\,\frac{1}{B^2}\sum_{ij}(S(s_k(h_k))_{ij} - S(y)_{ij})^2

    where :math:`p_k` is a pooled linear classifier, :math:`s_k` a 3x3 convolution and S the cosine similarity of the
    batch's samples.

    Source: Nokland, Eidnes. Training Neural Networks with Local Error Signals. ICML 2019. Authors' code:
        anokland/local-loss, train.py. The default is the form of Ma et al., ICLR 2024 (ChenxiangMA/AugLocal).
    Departures: Blocks are those of the partition; the authors make every single convolution a block. The authors'
        dropout between blocks belongs to the network here. `last_weight` is 0.01 in the authors' code.

    Args:
        head: `"auglocal"`: AugLocal's initialisation. `"original"`: the authors'; classifier weights start at zero.
        pooled_features: At most so many values reach the classifier; None for the form's own 512 (`"auglocal"`) or 4096
            (`"original"`; the authors take 2048 on CIFAR-10).
        beta: Weight of the similarity loss, in [0, 1].
        last_weight: Weight of the network's own output loss.
    """

    head: Literal["auglocal", "original"] = "auglocal"
    pooled_features: int | None = None
    beta: float = 0.99
    last_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta <= 1:
            raise InputError(f"PredSim's beta is a share between 0 and 1, not {self.beta}.")
        if self.pooled_features is not None and self.pooled_features < 1:
            raise InputError(f"PredSim's pooled_features must be at least 1, not {self.pooled_features}.")
        if not self.last_weight > 0:
            raise InputError(f"PredSim's last_weight must be positive, not {self.last_weight}.")

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        *local, last = one_window_per_block(len(partition.blocks))
        return (*local, last._replace(weight=self.last_weight))

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        from locallearn.auxiliary.similarity_conv import SimilarityConv
        from locallearn.losses.similarity_matching import similarity_matching
        from locallearn.objective import Term, WeightedTerms, prediction_term, require_labels

        task = context.task
        require_labels(task, "PredSim's similarity matching")

        def similarity_loss(output: Tensor, batch: Batch) -> Tensor:
            labels = task.labels(batch.gathered(batch.targets))
            return similarity_matching(batch.gathered(output), labels, task.num_outputs)

        terms = []
        if self.beta > 0:
            similarity = SimilarityConv(site.shape, kaiming=self.head != "original")
            terms.append(Term("similarity", similarity, similarity_loss, weight=self.beta))
        if self.beta < 1:
            classifier = self.prediction_head(site, task.num_outputs, context, head, self._head)
            terms.append(prediction_term(classifier, task, weight=1 - self.beta))
        return WeightedTerms(*terms)

    def _head(self, site: Site, num_outputs: int) -> nn.Module:
        from locallearn.auxiliary.pooled_linear import PooledLinear

        original = self.head == "original"
        most = self.pooled_features or (4096 if original else 512)
        return PooledLinear(site.shape, num_outputs, threshold=most, zero_weight=original)
