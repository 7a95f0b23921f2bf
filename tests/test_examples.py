"""The scripts of `examples` run as they are, in processes of their own, and what they print holds."""

from __future__ import annotations

import ast
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "digits")
CPU_SECONDS = 60
"""Three times what a script may take on an idle machine; a busy one counts more for the same work."""
PATIENCE = 500


def printed(*command):
    """What a script prints, which must end well and within its time on the processor, not on a clock."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=PATIENCE, check=False, cwd=FOLDER.parent
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert seconds < CPU_SECONDS, f"{seconds:.1f} s on the processor"
    print(f"{seconds:.1f} s on the processor")
    return result.stdout


def percentages(text):
    return [float(number) for number in re.findall(r"([\d.]+) %", text)]


def example(name):
    return printed(sys.executable, str(FOLDER / f"{name}.py"))


def test_own_model_learns_and_its_weights_load_into_a_fresh_network():
    lines = example("own_model").splitlines()
    *_, trained, loaded = percentages("\n".join(lines))
    assert trained == loaded > 80
    assert [line.split(":")[0] for line in lines[:4]] == [f"block {index}" for index in range(4)]


@pytest.mark.slow
def test_timm_model_learns_by_every_method():
    assert all(share > 70 for share in percentages(example("timm_model")))


def test_own_loop_resumes_to_the_bit():
    text = example("own_loop")
    whole, half, resumed = percentages(text)
    assert whole == resumed > 80 and half != whole
    assert text.splitlines()[-1].endswith("True")


@pytest.mark.slow
def test_custom_heads_learn_and_are_smaller_than_the_methods_own():
    text = example("custom_head")
    own, small, _ = (int(count.replace(",", "")) for count in re.findall(r"([\d,]+) parameters", text))
    assert small < own / 2
    assert all(share > 60 for share in percentages(text))


@pytest.mark.slow
def test_own_method_has_overlapping_windows_of_two_terms_and_learns():
    *windows, last = example("own_method").splitlines()
    assert [line.partition(":")[0] for line in windows] == [f"blocks {start} to {start + 1}" for start in range(3)]
    assert all("class" in line and "image" in line for line in windows[:-1])
    assert percentages(last)[0] > 60


def test_segmentation_is_better_than_ground_everywhere():
    ground, network = (ast.literal_eval(found)["mean_iou"] for found in re.findall(r"{.*}", example("segmentation")))
    assert network > ground + 15


@pytest.mark.distributed
@pytest.mark.parametrize(
    "starter",
    [(), pytest.param(("-m", "torch.distributed.run", "--nproc-per-node", "2"), marks=pytest.mark.slow)],
    ids=["own", "torchrun"],
)
def test_block_parallel_divides_the_blocks_and_learns(starter):
    text = printed(sys.executable, *starter, str(FOLDER / "block_parallel.py"))
    assert "process 0: blocks [0, 1]" in text and "process 1: blocks [2, 3]" in text
    assert percentages(text)[-1] > 60


@pytest.mark.slow
def test_planning_says_what_fits():
    text = example("planning_memory")
    peaks = [int(found) for found in re.findall(r"dgl in \d blocks: (\d+) MiB", text)]
    assert len(peaks) > 1 and peaks == sorted(peaks, reverse=True)
    budget, peak = (int(found) for found in re.search(r"into (\d+) MiB: fits.*\n  (\d+) MiB", text).groups())
    assert budget >= peak


@pytest.mark.slow
def test_looking_inside_probes_every_block():
    for line in example("looking_inside").splitlines():
        depth, network = re.fullmatch(r"\w+ +linear probe after each block: (.*) %; the network: (.*) %", line).groups()
        assert len(depth.split(", ")) == 5
        assert all(float(share) > 50 for share in [*depth.split(", "), network])


def test_every_script_is_run_here_and_is_short():
    run = Path(__file__).read_text(encoding="utf-8")
    assert len(SCRIPTS) >= 6
    for name in SCRIPTS:
        assert f'example("{name}")' in run or f'"{name}.py"' in run, name
        text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
        assert len(text.splitlines()) < 100, name
        assert f"Run: python examples/{name}.py" in text or f"python examples/{name}.py" in text, name


def test_scripts_use_public_names_only():
    """A reader copies them: `import locallearn as ll`, and nothing from rooms inside."""
    for path in FOLDER.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert "from locallearn" not in text and not re.search(r"ll\._", text), path.name
        assert "shared" not in text and "download" not in text, path.name
