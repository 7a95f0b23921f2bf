"""Names of results for people."""

from __future__ import annotations


def in_words(name: str) -> str:
    """A field's name for people.

    Args:
        name: Such as `test_mean_iou`.

    Returns:
        Such as `test mean IoU`.
    """
    words = {"iou": "IoU", "ap": "AP", "ap50": "AP50", "ap75": "AP75", "stl10": "STL-10"}
    return " ".join(words.get(word, word) for word in name.split("_"))


def headed(words: str) -> str:
    """Words as the beginning of a heading.

    Args:
        words: Such as `test mean IoU`.

    Returns:
        The same with a first capital.
    """
    return words[:1].upper() + words[1:]
