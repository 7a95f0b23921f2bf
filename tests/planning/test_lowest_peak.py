from itertools import combinations

import pytest
import torch

import locallearn as ll
from locallearn.errors import InputError
from locallearn.planning.lowest_peak import lowest_peak
from locallearn.planning.rehearsal import Rehearsal, Setting
from small_networks import residual


@pytest.fixture(scope="module")
def rehearsal():
    return Rehearsal(residual(6, width=8, dtype=torch.float32), (3, 16, 16), None, device=torch.device("cpu"))


def every_cut(units, blocks):
    for borders in combinations(range(1, units), blocks - 1):
        stops = [*borders, units]
        yield [stop - start for start, stop in zip([0, *borders], stops, strict=True)]


@pytest.mark.parametrize("method", [ll.DGL(), ll.MAN(ll.InfoPro(task_loss="cross_entropy"))])
@pytest.mark.parametrize("num_blocks", [2, 3])
def test_no_cut_into_so_many_blocks_holds_less(rehearsal, method, num_blocks):
    setting = Setting(method=method, batch_size=16)
    found = lowest_peak(rehearsal, setting, num_blocks)
    units = len(rehearsal.whole.units)

    def peak(blocks):
        return rehearsal.local(blocks, setting)[1].peak.total

    assert len(found) == num_blocks
    assert peak(found) == min(peak(rehearsal.cut_at(sizes)) for sizes in every_cut(units, num_blocks))


def test_where_windows_overlap_no_single_move_helps(rehearsal):
    setting = Setting(method=ll.MLAAN(ll.DGL()), batch_size=16)
    found = [len(info.units) for info in lowest_peak(rehearsal, setting, 3).infos]
    peaks = {
        tuple(sizes): rehearsal.local(rehearsal.cut_at(sizes), setting)[1].peak.total
        for sizes in every_cut(len(rehearsal.whole.units), 3)
        if sum(abs(one - other) for one, other in zip(sizes, found, strict=True)) <= 2
    }
    assert len(peaks) > 3
    assert peaks[tuple(found)] == min(peaks.values())


def test_more_blocks_than_units_are_refused(rehearsal):
    with pytest.raises(InputError, match="1 to 7"):
        lowest_peak(rehearsal, Setting(method=ll.DGL(), batch_size=2), 8)


def test_plan_takes_it_as_a_balance():
    network = residual(6, width=8, dtype=torch.float32)
    arguments = {"batch_size": 16, "method": ll.MLAAN(ll.DGL()), "num_blocks": 3}
    lowest = ll.plan(network, (3, 16, 16), balance="peak", **arguments)
    assert lowest.peak_bytes <= ll.plan(network, (3, 16, 16), balance="memory", **arguments).peak_bytes
    with pytest.raises(InputError, match="num_blocks"):
        ll.plan(network, (3, 16, 16), balance="peak", batch_size=16)
    with pytest.raises(InputError, match="1 to 7"):
        ll.plan(network, (3, 16, 16), balance="peak", batch_size=16, num_blocks=0)
    with pytest.raises(InputError, match="split_points"):
        ll.plan(network, (3, 16, 16), balance="peak", batch_size=16, num_blocks=2, split_points=["blocks.0"])
