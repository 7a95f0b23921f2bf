"""A share of a data set held out, the same share of every class."""

from __future__ import annotations

import numpy as np

from locallearn.errors import InputError


def hold_out(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint sets of positions, drawn class by class.

    Args:
        labels: (N,), integers.
        share: How much to hold out, between 0 and 1.
        seed: The same seed gives the same sets.

    Returns:
        The positions kept and those held out, both ascending; together all N.

    Raises:
        InputError: The share leaves a class without an image on one side.
    """
    from sklearn.model_selection import train_test_split

    try:
        kept, held = train_test_split(
            np.arange(len(labels)), test_size=share, stratify=labels, random_state=seed % (1 << 32)
        )
    except ValueError as error:
        raise InputError(
            f"A share of {share} cannot be held out of every class of {len(labels)} images ({error})."
        ) from error
    return np.sort(kept), np.sort(held)
