"""Run folders as training leaves them, made by hand: small, quick, with whatever numbers a test asks for."""

from __future__ import annotations

import json

from torch import nn

from locallearn.datasets.registry import find_spec
from locallearn.recipes import checked, load, save
from locallearn.training.network_file import save_network

CLASSES = {name: find_spec(name).classes for name in ("cifar10", "svhn", "digits")}


def laid_over(below, above):
    return below | {k: laid_over(below[k], v) if isinstance(v, dict) and k in below else v for k, v in above.items()}


def made_run(folder, recipe, errors, *, finished=True, steps=10, seconds=2.0, peak=2**30, classes=None, **changes):
    """A folder with a test error for each epoch (None: not evaluated); each epoch has `steps` and takes `seconds`."""
    base = load(recipe).model_dump()
    if "name" in changes.get("method", {}):
        base |= {"method": {}}
    tables = laid_over(base, {"seeds": 1} | changes)
    made = checked(tables, where="a test's recipe")
    folder.mkdir(parents=True)
    save(made, folder / "recipe.toml")
    blocks = made.partition.num_blocks or 4
    metrics = [metric(epoch, steps, error, blocks, made.method.name) for epoch, error in enumerate(errors, 1)]
    lines(folder / "metrics.jsonl", metrics)
    timed = [{"epoch": n, "training_seconds": seconds, "batches": steps} for n in range(1, len(errors) + 1)]
    lines(folder / "timings.jsonl", timed)
    if finished:
        own = CLASSES[made.dataset.name] if classes is None else classes
        save_network(nn.Linear(1, 1), folder / "network.safetensors", classes=own, title=made.title)
        (folder / "summary.json").write_text(json.dumps(summary(made, folder, errors, steps, peak, blocks)))
    return folder


def metric(epoch, steps, error, blocks, method):
    windows = [(0, blocks)] if method == "backprop" else [(k, k + 1) for k in range(blocks)]
    heads = [
        {"blocks": [first, stop], "role": "local", "terms": {}}
        | {"loss": (3.0 - stop / blocks) / epoch, "accuracy": 50 + 40 * stop / blocks - 8 / epoch}
        for first, stop in windows
    ]
    score = {"score": "accuracy", "test_accuracy": None if error is None else 100 - error}
    return {"epoch": epoch, "step": epoch * steps, "learning_rates": {}, "blocks": heads, **score}


def summary(recipe, folder, errors, steps, peak, blocks):
    return {
        "title": recipe.title,
        "run": str(folder),
        "seed": recipe.seed,
        "epochs": len(errors),
        "steps": steps * len(errors),
        "num_blocks": blocks,
        "parameters": 1000,
        "auxiliary_parameters": 500,
        "score": "accuracy",
        "test_accuracy": 100 - errors[-1],
        "test_error": errors[-1],
        "peak_bytes": peak,
        "backprop_peak_bytes": 2**31,
        "versions": {"python": "3.11", "torch": "2.15", "locallearn": "0.1.0"},
    }


def lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def found(folder, name, **record):
    """What an analysis left beside a run."""
    (folder / "analysis").mkdir(exist_ok=True)
    (folder / "analysis" / f"{name}.json").write_text(json.dumps({"analysis": name, **record}))
