"""Decoupled Greedy Learning: every block learns by cross-entropy through a small head of its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from locallearn.abstract_method import Context, Site, Window, one_window_per_block
from locallearn.predicting import Predicting

if TYPE_CHECKING:
    from torch import nn

    from locallearn.abstract_method import Head
    from locallearn.objective import LocalObjective
    from locallearn.partitioning import Partition


@dataclass(frozen=True, kw_only=True)
class DGL(Predicting):
    r"""Decoupled Greedy Learning, the synchronous form.

    .. math::
        L_k = \mathrm{loss}(a_k(h_k), y)

    where :math:`h_k` is the output of block k, whose input is detached, :math:`a_k` its head, and the loss the task's.

    Source: Belilovsky, Eickenberg, Oyallon. Decoupled Greedy Learning of CNNs. ICML 2020. Authors' code: eugenium/DGL,
        auxiliary_nets_study/models.py. Head of the default: Ma et al., Scaling Supervised Local Learning with Augmented
        Auxiliary Networks, ICLR 2024, appendix, Table 1; ChenxiangMA/AugLocal, networks/auxiliary_nets.py.
    Departures: The last block is trained through the network's own classifier in every form; the authors give it a
        perceptron of two hidden layers.

    Args:
        head: `"auglocal"`: three 1x1 convolutions at a quarter of the resolution and two hidden layers after pooling to
            2x2. `"authors"`: the same with three hidden layers with bias. `"mlaan"`: MLAAN's `auxDGL`, three 1x1
            convolutions of width 128 at full resolution, global pooling, three hidden layers of 512. `"man"`: MAN++'s,
            the same behind a pool to 8x8. `"infopro"`: one 3x3 convolution and two linear layers, the head of MLAAN's
            released baseline named DGL (`resnetDGL.py`). `"linear"`: global pooling and a linear layer, the head of
            MLAAN alone.
    """

    head: Literal["auglocal", "authors", "mlaan", "man", "infopro", "linear"] = "auglocal"

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        return one_window_per_block(len(partition.blocks))

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        from locallearn.objective import WeightedTerms, prediction_term

        task = context.task
        own = partial(self._head, context=context)
        auxiliary = self.prediction_head(site, task.num_outputs, context, head, own)
        return WeightedTerms(prediction_term(auxiliary, task))

    def _head(self, site: Site, num_outputs: int, context: Context) -> nn.Module:
        from locallearn.auxiliary.conv_classifier import ConvClassifier
        from locallearn.auxiliary.conv_mlp import AUGLOCAL, AUTHORS, MAN, MLAAN, ConvMLP
        from locallearn.auxiliary.feature_map import feature_width

        if self.head in ("infopro", "linear"):
            final = feature_width(context.units[-1].out_shape)
            layers = "1c2f" if self.head == "infopro" else "0c1f"
            return ConvClassifier(site.shape, num_outputs, final_channels=final, layers=layers)
        forms = {"auglocal": AUGLOCAL, "authors": AUTHORS, "mlaan": MLAAN, "man": MAN}
        return ConvMLP(site.shape, num_outputs, forms[self.head])
