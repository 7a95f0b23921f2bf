from __future__ import annotations

import pytest
import torch

import locallearn as ll
from locallearn.networks import build


def test_published_cuts():
    resnet32, example = build("resnet32", 10), torch.randn(2, 3, 32, 32)

    def sizes(preset, num_blocks):
        return [len(info.units) for info in ll.partition(resnet32, example, num_blocks=num_blocks, preset=preset).infos]

    assert sizes("auglocal", 8) == [1] * 7 + [9]
    assert sizes("infopro", 3) == [6, 5, 5]
    assert sizes("man", 16) == [2] + [1] * 14
    resnet110 = build("resnet110", 10)
    infos = ll.partition(resnet110, example, num_blocks=32, preset="man").infos
    ends = [info.units.stop - 1 for info in infos][:-1]
    early = [2, 3, 5, 6, 8, 10, 12, 14, 15, 17, 18]
    assert ends == [*early, *(end + 18 for end in early), 38, 40, 41, 43, 44, 46, 48, 50, 52]
    for preset, num_blocks, last in (
        ("infopro", 2, [(2, 8)]),
        ("infopro", 4, [(1, 11), (2, 7), (3, 3)]),
        ("infopro", 8, [(1, 4), (1, 11), (2, 0), (2, 7), (2, 14), (3, 3), (3, 10)]),
        ("infopro_balanced", 2, [(1, 14)]),
        ("infopro_balanced", 3, [(1, 9), (2, 2)]),
        ("infopro_balanced", 4, [(1, 6), (1, 14), (2, 8)]),
        ("infopro_balanced_stl10", 3, [(1, 8), (2, 1)]),
    ):
        infos = ll.partition(resnet110, example, num_blocks=num_blocks, preset=preset).infos
        assert [info.units.stop - 1 for info in infos][:-1] == [1 + 18 * (stage - 1) + block for stage, block in last]
    with pytest.raises(ll.InputError, match="K=2, K=3, K=4, K=8, K=16"):
        sizes("infopro", 5)
    with pytest.raises(ll.InputError, match="Did you mean 'auglocal'"):
        sizes("auglocl", 5)
