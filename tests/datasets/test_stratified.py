from __future__ import annotations

import numpy as np
import pytest

from locallearn.datasets.stratified import hold_out
from locallearn.errors import InputError

LABELS = np.repeat([0, 1, 2], [100, 200, 50])


def test_disjoint_complete_and_the_same_share_of_every_class() -> None:
    kept, held = hold_out(LABELS, 0.1, seed=0)
    assert sorted([*kept, *held]) == list(range(350))
    assert np.bincount(LABELS[held]).tolist() == [10, 20, 5]
    assert np.all(np.diff(kept) > 0)
    assert np.all(np.diff(held) > 0)


def test_only_the_seed_decides() -> None:
    assert all(map(np.array_equal, hold_out(LABELS, 0.1, seed=3), hold_out(LABELS, 0.1, seed=3)))
    assert not np.array_equal(hold_out(LABELS, 0.1, seed=3)[1], hold_out(LABELS, 0.1, seed=4)[1])
    assert len(hold_out(LABELS, 0.1, seed=2**40)[1]) == 35


@pytest.mark.parametrize("share", [0.001, 0.9999])
def test_a_share_that_leaves_nothing_is_refused(share: float) -> None:
    with pytest.raises(InputError, match="cannot be held out"):
        hold_out(LABELS, share, seed=0)
