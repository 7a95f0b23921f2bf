"""Two processes, each with half of the blocks: batches pass forward, and nothing comes back.

Run: torchrun --nproc-per-node 2 examples/block_parallel.py
or:  python examples/block_parallel.py        (which starts the two processes by itself)

No process waits for one behind it: while the second learns from a batch, the first already learns from the next. Each
holds parameters, gradients and optimizer state of its own blocks alone. The weights at the end are, bit for bit, those
that one process would have found.
"""

from __future__ import annotations

import os
import socket

import torch
import torch.distributed as dist
from digits import digits
from torch.utils.data import DataLoader

import locallearn as ll

EPOCHS = 2


def built() -> ll.LocalModel:
    """The same model in every process.

    Returns:
        A ResNet-20 in four blocks, not yet trained.
    """
    torch.manual_seed(0)
    network = ll.networks.resnet20(10, in_channels=1)
    blocks = ll.partition(network, torch.zeros(2, 1, 8, 8), num_blocks=4)
    return ll.LocalModel(blocks, ll.DGL(), ll.Classification(10))


def worker() -> None:
    """What each process runs."""
    dist.init_process_group("gloo")
    parallel = ll.BlockParallel(built())
    model = parallel.model
    # Made afterwards, when the parameters that the other process trains have been let go of.
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    own = sum(parameter.numel() for parameter in model.parameters() if not parameter.is_meta)
    print(f"process {dist.get_rank()}: blocks {list(parallel.blocks)}, {own:,} parameters", flush=True)

    training, held_out = digits()
    order = torch.Generator().manual_seed(0)
    loader = DataLoader(training, batch_size=64, shuffle=True, drop_last=True, generator=order)
    for epoch in range(EPOCHS):
        for batch in loader if parallel.is_first else [()] * len(loader):  # the first process alone reads
            outputs = parallel.local_backward(*batch)
            optimizer.step()
            optimizer.zero_grad()
            parallel.after_step()
        losses = ", ".join(f"{output.loss.item():.3f}" for output in outputs)
        print(f"process {dist.get_rank()}: epoch {epoch + 1}, losses {losses}", flush=True)

    model.eval()
    right = sum(
        (logits.argmax(1) == labels).sum().item()
        for logits, labels in parallel.outputs(DataLoader(held_out, batch_size=100))
    )
    if parallel.is_last:  # where the network's own output is
        print(f"through both processes: {100 * right / len(held_out):.1f} % of the held-out digits", flush=True)
    parallel.close()
    dist.destroy_process_group()


def _started(rank: int, port: int) -> None:
    """One of the processes that this script starts itself, with what torchrun would have told it."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    worker()


if __name__ == "__main__":
    if "RANK" in os.environ:
        worker()
    else:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        torch.multiprocessing.spawn(_started, (port,), nprocs=2)
