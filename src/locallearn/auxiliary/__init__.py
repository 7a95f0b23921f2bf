"""Auxiliary networks: what a local loss reads a block's feature through."""

from __future__ import annotations

from locallearn.auxiliary.conv_classifier import ConvClassifier
from locallearn.auxiliary.conv_mlp import ConvMLP, ConvMLPForm
from locallearn.auxiliary.dense_head import DenseHead
from locallearn.auxiliary.image_decoder import ImageDecoder
from locallearn.auxiliary.imagenet_classifier import ImageNetClassifier
from locallearn.auxiliary.pooled_linear import PooledLinear, pooling_rule
from locallearn.auxiliary.similarity_conv import SimilarityConv
from locallearn.auxiliary.tokens import TokenHead, TokenMap, TokenVector
from locallearn.auxiliary.upsampling_decoder import UpsamplingDecoder

__all__ = [
    "ConvClassifier",
    "ConvMLP",
    "ConvMLPForm",
    "DenseHead",
    "ImageDecoder",
    "ImageNetClassifier",
    "PooledLinear",
    "SimilarityConv",
    "TokenHead",
    "TokenMap",
    "TokenVector",
    "UpsamplingDecoder",
    "pooling_rule",
]
