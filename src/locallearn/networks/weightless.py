"""The options of a network whose weights come from somewhere else: nothing is read or fetched for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LIBRARIES = ("torchvision", "timm")
_LOADED = ("weights", "weights_backbone", "pretrained")
_DETECTORS = ("mask_rcnn", "retinanet")
_WHERE_WEIGHTS_ARE: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": False},
    "inception_v3": {"transform_input": True},
    "deeplabv3": {"aux": True},
}
"""What networks are built with where `weights` are given, unless told otherwise."""


def weightless(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that build a network of the same layers with random weights.

    Args:
        name: A name of `build`.
        options: Its options, perhaps with weights to load.

    Returns:
        The options without weights, and with all that follows from weights written out; those of the user's own
        functions as they are.
    """
    library, colon, model = name.rpartition(":")
    if colon and library not in _LIBRARIES:
        return dict(options)
    kept = {option: value for option, value in options.items() if option not in _LOADED}
    if name in _DETECTORS and options.get("weights_backbone") is not None and kept.get("frozen_norm") is None:
        kept["frozen_norm"] = True
    if options.get("weights") is not None and library != "timm":
        if model == "deeplabv3" and not kept.get("aux"):
            kept.pop("aux", None)
        kept = _WHERE_WEIGHTS_ARE.get(model, {}) | _size(model, options["weights"]) | kept
    return kept


def _size(model: str, weights: Any) -> dict[str, int]:
    # torchvision's transformers have one place for each patch of the images that the weights were trained on.
    if not model.startswith("vit_"):
        return {}
    from torchvision.models import get_model_weights

    offered = get_model_weights(model).__members__
    return {"image_size": offered[weights].meta["min_size"][0]} if weights in offered else {}
