"""Bytes alive at the peak of the second training step, on fake tensors: exact, and the same on any machine."""

from __future__ import annotations

from typing import Any

import torch
from benchmarks.environment import write
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import locallearn as ll
from locallearn.planning.bytes_alive import held_by, peak_bytes

MIB = 2**20
BATCH = 1024
INFOPRO = ll.InfoPro(task_loss="cross_entropy")
METHODS: dict[str, ll.Method] = {
    "backprop": ll.Backprop(),
    "backprop, checkpointing": ll.Backprop(),
    "dgl": ll.DGL(),
    "predsim": ll.PredSim(),
    "infopro": INFOPRO,
    "auglocal": ll.AugLocal(),
    "dgl+man": ll.MAN(),
    "dgl+man, MAN++ head": ll.MAN(ll.DGL(head="man")),
    "infopro+man": ll.MAN(INFOPRO),
    "mlaan": ll.MLAAN(),
    "mlaan, multilaminar only": ll.MLAAN(leap="none"),
}
PRESET = {"infopro+man": "man", "mlaan": "mlaan", "mlaan, multilaminar only": "mlaan"}
"""Whose released code says where to cut; for all other methods it is AugLocal's, the stem a block of its own."""
NETWORKS = {"resnet32": 16, "resnet110": 55}
OFFICIAL_MIB = {
    ("resnet32", "backprop"): 2463.9,
    ("resnet32", "dgl"): 470.4,
    ("resnet32", "predsim"): 595.1,
    ("resnet32", "infopro"): 708.6,
    ("resnet32", "auglocal"): 621.1,
    ("resnet32", "dgl+man, MAN++ head"): 1264.7,
    ("resnet32", "infopro+man"): 1304.6,
    ("resnet32", "mlaan"): 1733.3,
    ("resnet110", "backprop"): 8297.6,
    ("resnet110", "dgl"): 500.3,
    ("resnet110", "predsim"): 613.4,
    ("resnet110", "infopro"): 731.4,
    ("resnet110", "auglocal"): 669.8,
    ("resnet110", "dgl+man, MAN++ head"): 1511.2,
    ("resnet110", "infopro+man"): 1338.6,
    ("resnet110", "mlaan"): 1843.5,
}
"""The authors' released codes at the same cuts, counted by the same meter: AugLocal's for the methods up to `auglocal`,
MAN's (with its 2c2f head), MAN_PlusPlus's and MLAAN's."""


def cost(
    network_name: str, num_blocks: int, method: ll.Method | None, batch: int = BATCH, *, preset: str = "auglocal"
) -> tuple[int, int]:
    """Peak bytes and operations of one SGD step with momentum on 32x32 images of ten classes, fp32.

    Args:
        network_name: A CIFAR ResNet.
        num_blocks: K as the papers name it.
        method: How to train; None for plain PyTorch on the untouched network.
        batch: Images per step.
        preset: Whose cuts.

    Returns:
        Bytes alive at the peak, and floating-point operations.
    """
    with FakeTensorMode():
        network = ll.networks.build(network_name, 10)
        model: torch.nn.Module = network
        if method is not None:
            blocks = ll.partition(network, torch.empty(2, 3, 32, 32), num_blocks=num_blocks, preset=preset)
            model = ll.LocalModel(blocks, method, ll.Classification(10), normalization=((0.5,) * 3, (0.25,) * 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)

        def step() -> None:
            inputs, targets = torch.empty(batch, 3, 32, 32), torch.empty(batch, dtype=torch.long)
            optimizer.zero_grad()
            if isinstance(model, ll.LocalModel):
                model.local_backward(inputs, targets)
            else:
                F.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            if isinstance(model, ll.LocalModel):
                model.after_step()

        peak = peak_bytes(step, lambda: held_by(model, optimizer))
        with FlopCounterMode(display=False) as counter:
            step()
    return peak, counter.get_total_flops()


def main() -> None:
    """Measure all rows and write `results/memory.json`."""
    rows: list[dict[str, Any]] = []
    for network, num_blocks in NETWORKS.items():
        plain_bytes, plain_flops = cost(network, num_blocks, None)
        measured = {"plain PyTorch": (plain_bytes, plain_flops)}
        for name, method in METHODS.items():
            measured[name] = cost(network, num_blocks, method, preset=PRESET.get(name, "auglocal"))
        for name, (peak, flops) in measured.items():
            rows.append(
                {
                    "network": network,
                    "num_blocks": 1 if name == "plain PyTorch" else num_blocks,
                    "cut": PRESET.get(name, "auglocal"),
                    "method": name,
                    "peak_bytes": peak,
                    "peak_mib": round(peak / MIB, 2),
                    "bytes_ratio": round(peak / plain_bytes, 4),
                    "flops_ratio": round(flops / plain_flops, 4),
                    "official_mib": OFFICIAL_MIB.get((network, name)),
                }
            )
            print(rows[-1])
    print(write("memory", rows, batch_size=BATCH, precision="fp32", meter="bytes alive, second step, fake tensors"))


if __name__ == "__main__":
    main()
