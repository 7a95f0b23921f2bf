"""InfoPro: every block keeps what is needed to restore the image and to tell the classes apart."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from typing_extensions import override

from locallearn.abstract_method import Context, Site, Window, one_window_per_block
from locallearn.errors import InputError, listed
from locallearn.predicting import Predicting

if TYPE_CHECKING:
    from torch import Tensor, nn

    from locallearn.abstract_method import Head
    from locallearn.objective import Batch, LocalObjective, Term
    from locallearn.partitioning import Partition

HeadForm = Literal["0c1f", "0c2f", "1c1f", "1c2f", "1c3f", "2c2f", "imagenet"]


@dataclass(frozen=True, kw_only=True)
class InfoPro(Predicting):
    r"""Reconstruction of the image and a task loss, with weights that change over depth.

    .. math::
        L_k = \lambda_{1,k}\,\mathrm{BCE}(d_k(h_k), \tilde x) + \lambda_{2,k}\,L_\mathrm{task}(a_k(h_k), y)

    with the image :math:`\tilde x` in [0, 1] as it was before normalisation. Each weight goes from its first to its
    second value along :math:`\lambda_k = (1-t_k)\lambda^{(1)} + t_k\lambda^{(2)}`. A term of weight zero is not built.

    Source: Wang, Ni, Song, Yang, Huang. Revisiting Locally Supervised Learning: an Alternative to End-to-end Training.
        ICLR 2021. Authors' code: blackfeather-wang/InfoPro-Pytorch at a38362a, networks/resnet.py and comand.sh. The
        schedule `"stage"`: JunhaoSu0/MAN at a6d20c5, networks/resnetInfoPro_MAN.py.
    Departures: The losses of a block are back-propagated one after the other, which gives the same gradients with less
        memory. The decoder returns logits and the sigmoid is in the loss. With `"stage"` the authors divide by the
        number of modules they name (16) where only 15 exist; here K is the number of blocks.

    Args:
        task_loss: `"contrastive"` (supervised, temperature 0.07) or `"cross_entropy"`.
        head: c convolutions and f linear layers, e.g. `"1c2f"`. `"imagenet"`: convolutions that halve large maps, see
            `auxiliary.imagenet_classifier.ImageNetClassifier`.
        decoder: `"cifar"`: the feature is upsampled once, to the image's size. `"imagenet"`: it is doubled step by step
            with a convolution at each, see `auxiliary.upsampling_decoder.UpsamplingDecoder`. `"segmentation"`: the same
            with PyTorch's initial values, as the authors have it for Cityscapes. Of tokens it reads those of the
            patches, as a map, see `auxiliary.tokens.TokenMap`.
        feature_dim: Width of the head's hidden layers and of the contrastive feature.
        widen: Factor on the hidden widths of head and decoder.
        reconstruction: :math:`\lambda_1` at the first and at the last local block. The default is the authors' for
            ResNet-32, CIFAR-10, K=16; `PUBLISHED_WEIGHTS` has the others.
        prediction: :math:`\lambda_2`, likewise.
        schedule: `"linear"`: :math:`t_k = k/(K-2)` over the K-1 local blocks. `"stage"`: :math:`t_k = s_k/(K-2)`, where
            :math:`s_k` is the stage, counted from the stem as 0, of the unit that the objective reads.
            `"block_stage"`: the same with the stage of the block's own last unit, as MLAAN's code does.
    """

    task_loss: Literal["contrastive", "cross_entropy"] = "contrastive"
    head: HeadForm = "1c2f"
    decoder: Literal["cifar", "imagenet", "segmentation"] = "cifar"
    feature_dim: int = 128
    widen: float = 1.0
    reconstruction: tuple[float, float] = (5.0, 0.2)
    prediction: tuple[float, float] = (0.05, 0.5)
    schedule: Literal["linear", "stage", "block_stage"] = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        problems = [
            f"InfoPro's {name} weights must be two numbers of at least 0, not {value}."
            for name, value in (("reconstruction", self.reconstruction), ("prediction", self.prediction))
            if not (len(value) == 2 and all(weight >= 0 for weight in value))
        ]
        if self.feature_dim < 1 or self.widen <= 0:
            problems.append(f"InfoPro's feature_dim and widen must be positive, not {self.feature_dim}, {self.widen}.")
        if problems:
            raise InputError(listed(problems))

    @override
    def windows(self, partition: Partition) -> tuple[Window, ...]:
        return one_window_per_block(len(partition.blocks))

    @override
    def objective(self, window: Window, site: Site, context: Context, *, head: Head | None = None) -> LocalObjective:
        from locallearn.objective import WeightedTerms

        position = self._position(site, context)
        reconstruction = (1 - position) * self.reconstruction[0] + position * self.reconstruction[1]
        prediction = (1 - position) * self.prediction[0] + position * self.prediction[1]
        terms = []
        if reconstruction > 0:
            terms.append(self._reconstruction_term(site, context, reconstruction))
        if prediction > 0:
            terms.append(self._task_term(site, context, head, prediction))
        if not terms:
            raise InputError(
                f"Both InfoPro weights are zero at local block {site.index} (unit {context.units[site.unit].name}), "
                f"which would not learn; change reconstruction={self.reconstruction} or prediction={self.prediction}."
            )
        return WeightedTerms(*terms)

    def _position(self, site: Site, context: Context) -> float:
        """Where between its two values a weight stands: t in [0, 1]."""
        steps = site.count - 1
        if self.schedule == "linear":
            return site.index / steps if steps else 0.0
        own = context.partition.infos[site.index].units.stop - 1
        unit = context.units[own if self.schedule == "block_stage" else site.unit]
        position = unit.stage / steps if steps else 0.0
        if position > 1:
            raise InputError(
                f"InfoPro's schedule {self.schedule!r} leaves the range of its weights with {site.count + 1} blocks "
                f"(unit {unit.name} is in stage {unit.stage}); use more blocks or schedule='linear'."
            )
        return position

    def _task_term(self, site: Site, context: Context, head: Head | None, weight: float) -> Term:
        from locallearn.losses.supervised_contrastive import supervised_contrastive
        from locallearn.objective import Term, prediction_term, require_labels

        task = context.task
        contrastive = self.task_loss == "contrastive"
        if contrastive:
            require_labels(task, "InfoPro's contrastive loss")
        num_outputs = self.feature_dim if contrastive else task.num_outputs
        auxiliary = self.prediction_head(site, num_outputs, context, head, partial(self._head, context=context))
        if not contrastive:
            return prediction_term(auxiliary, task, weight=weight)

        def contrastive_loss(output: Tensor, batch: Batch) -> Tensor:
            return supervised_contrastive(batch.gathered(output), task.labels(batch.gathered(batch.targets)))

        return Term("contrastive", auxiliary, contrastive_loss, weight=weight)

    def _head(self, site: Site, num_outputs: int, context: Context) -> nn.Module:
        from locallearn.auxiliary.conv_classifier import ConvClassifier
        from locallearn.auxiliary.feature_map import feature_width
        from locallearn.auxiliary.imagenet_classifier import ImageNetClassifier

        if self.head == "imagenet":
            return ImageNetClassifier(site.shape, num_outputs, context.image_shape, widen=self.widen)
        return ConvClassifier(
            site.shape,
            num_outputs,
            layers=self.head,
            feature_dim=self.feature_dim,
            final_channels=feature_width(context.units[-1].out_shape),
            widen=self.widen,
        )

    def _reconstruction_term(self, site: Site, context: Context, weight: float) -> Term:
        from locallearn.losses.reconstruction import reconstruction
        from locallearn.objective import Term

        def reconstruction_loss(output: Tensor, batch: Batch) -> Tensor:
            return reconstruction(output, batch.images)

        decoder = self._decoder(site.shape, context)
        return Term("reconstruction", decoder, reconstruction_loss, weight=weight, reads_inputs=True)

    def _decoder(self, shape: tuple[int, ...], context: Context) -> nn.Module:
        from torch import nn

        from locallearn.auxiliary.image_decoder import ImageDecoder
        from locallearn.auxiliary.tokens import TokenMap
        from locallearn.auxiliary.upsampling_decoder import UpsamplingDecoder

        image = context.image_shape
        if len(shape) == 2:
            patches = TokenMap(shape, image)
            return nn.Sequential(patches, self._decoder(patches.shape, context))
        if self.decoder == "cifar":
            return ImageDecoder(shape, image, widen=self.widen)
        return UpsamplingDecoder(shape, image, widen=self.widen, kaiming=self.decoder == "imagenet")


PUBLISHED_WEIGHTS: dict[tuple[str, str, int, str], dict[str, tuple[float, float]]] = {
    (network, dataset, num_blocks, preset): {"reconstruction": (x1, x2), "prediction": (y1, y2)}
    for network, dataset, num_blocks, preset, x1, y1, x2, y2 in (
        ("resnet32", "cifar10", 2, "infopro", 5.0, 1.0, 0.0, 0.0),
        ("resnet32", "cifar10", 4, "infopro", 6.0, 0.0, 1.0, 2.0),
        ("resnet32", "cifar10", 8, "infopro", 5.0, 0.0, 0.0, 2.0),
        ("resnet32", "cifar10", 16, "infopro", 5.0, 0.05, 0.2, 0.5),
        ("resnet110", "cifar10", 2, "infopro", 5.0, 0.5, 0.0, 0.0),
        ("resnet110", "cifar10", 4, "infopro", 1.0, 0.0, 0.0, 1.0),
        ("resnet110", "cifar10", 8, "infopro", 5.0, 0.0, 0.0, 1.0),
        ("resnet110", "cifar10", 16, "infopro", 5.0, 0.0, 0.5, 1.0),
        ("resnet110", "cifar10", 2, "infopro_balanced", 5.0, 0.1, 0.0, 0.0),
        ("resnet110", "cifar10", 3, "infopro_balanced", 5.0, 0.0, 5.0, 0.1),
        ("resnet110", "cifar10", 4, "infopro_balanced", 5.0, 0.0, 5.0, 0.1),
        ("resnet110", "stl10", 2, "infopro", 10.0, 1.0, 0.0, 0.0),
        ("resnet110", "stl10", 4, "infopro", 20.0, 0.2, 5.0, 2.0),
        ("resnet110", "stl10", 8, "infopro", 20.0, 0.2, 5.0, 1.0),
        ("resnet110", "stl10", 16, "infopro", 20.0, 0.5, 10.0, 0.1),
        ("resnet110", "stl10", 2, "infopro_balanced_stl10", 20.0, 1.0, 0.0, 0.0),
        ("resnet110", "stl10", 3, "infopro_balanced_stl10", 20.0, 0.5, 5.0, 2.0),
        ("resnet110", "stl10", 4, "infopro_balanced_stl10", 20.0, 0.5, 10.0, 1.0),
        ("resnet110", "svhn", 2, "infopro", 1.0, 0.1, 0.0, 0.0),
        ("resnet110", "svhn", 4, "infopro", 5.0, 0.0, 0.5, 1.0),
        ("resnet110", "svhn", 8, "infopro", 5.0, 0.0, 0.5, 2.0),
        ("resnet110", "svhn", 16, "infopro", 5.0, 0.2, 0.5, 1.0),
    )
}
"""The authors' weights by network, data set, K and preset of cuts; `InfoPro(**PUBLISHED_WEIGHTS[...])`.

Source: blackfeather-wang/InfoPro-Pytorch at a38362a, comand.sh.
"""
