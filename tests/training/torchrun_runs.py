"""Runs that torchrun starts, and what can befall them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from locallearn.training import checkpoint

TESTS = Path(__file__).parents[1]
PATIENCE = 300
SHORT = ["--training.epochs", "2", "--training.schedule.warmup-epochs", "1", "--training.checkpoint-every-steps", "5"]


@dataclass
class Torchrun:
    """A run of the digits recipe in processes that torchrun starts, and what they print."""

    out: Path
    parallel: str
    processes: int = 2
    options: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=lambda: SHORT)

    def __post_init__(self) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
        command += [str(self.processes), *self.options, "-m", "locallearn", "train", "digits", "--device", "cpu"]
        command += ["--out", str(self.out), "--or-resume", "--parallel", self.parallel, *self.flags]
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def printed(self) -> str:
        return "".join(self.lines)

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(iter(self.process.stdout.readline, ""))

    def until(self, condition, what: str) -> float:
        """Wait for something; seconds since the start, or as soon as the run has ended."""
        while not condition() and self.process.poll() is None:
            assert time.monotonic() - self.started < PATIENCE, f"{what} never came:\n{self.printed}"
            time.sleep(0.02)
        return time.monotonic() - self.started

    def begun(self, restarts: int = 0) -> float:
        """Wait until the processes train, after so many restarts."""
        return self.until(lambda: len(re.findall(r": step \d+ of", self.printed)) > restarts, "the beginning")

    @property
    def is_trained(self) -> bool:
        """Whether the last epoch is over."""
        return re.search(r"epoch (\d+)/\1,|: step (\d+) of \2\n", self.printed) is not None

    def trained(self) -> float:
        """Wait until the last epoch is over."""
        return self.until(lambda: self.is_trained, "the end of training")

    def at_step(self, step: int) -> float:
        """Wait for a checkpoint of this step or a later one."""
        folder = self.out / "checkpoints"
        return self.until(
            lambda: any(int(path.name[5:13]) >= step for path in checkpoint.names(folder)), f"step {step}"
        )

    def ranks(self) -> list[int]:
        """Process ids of the workers by rank."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        by_rank = {}
        for pid in map(int, children):
            try:
                entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            by_rank |= {int(entry[5:]): pid for entry in entries if entry.startswith(b"RANK=")}
        return [by_rank[rank] for rank in sorted(by_rank)]

    def signal(self, number: signal.Signals, rank: int | None = None) -> bool:
        """Send a signal to torchrun, or to one of its processes; whether it could be."""
        if self.process.poll() is not None:
            return False
        if rank is None:
            self.process.send_signal(number)
            return True
        ranks = self.ranks()
        if rank >= len(ranks):
            return False
        os.kill(ranks[rank], number)
        return True

    def end(self) -> int:
        """Wait for the end; the exit code of torchrun."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the run hangs:\n{self.printed}") from None
        self._reader.join(10)
        return code

    def close(self) -> None:
        """Leave no process behind."""
        if self.process.poll() is None:
            for pid in (*self.ranks(), self.process.pid):
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        self._reader.join(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
