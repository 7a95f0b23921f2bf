"""The table of networks under methods."""

from __future__ import annotations

import re

from benchmarks.result_files import measured, result

from locallearn.benchmarking.table import markdown


def networks() -> str:
    """Every network under every method.

    Returns:
        Markdown: blocks of each cell that trains, a number for each refusal, and what the numbers stand for.
    """
    if not measured("networks"):
        return "Not measured yet."
    found = result("networks")["rows"]
    columns = list(dict.fromkeys(row["method"] for row in found))
    reasons: dict[str, str] = {}
    cells: dict[str, dict[str, str]] = {}
    for row in found:
        text = str(row["blocks"])
        if row["outcome"] != "trains":
            reason = _shortened(row["reason"])
            text = reasons.setdefault(reason, f"r{len(reasons) + 1}")
            text = f"fails ({text})" if row["outcome"] == "fails" else text
        cells.setdefault(row["network"], {})[row["method"]] = text
    table = markdown(["network", *columns], [[name, *map(of.__getitem__, columns)] for name, of in cells.items()])
    return "\n\n".join([table, *(f"{number}: {reason}" for reason, number in reasons.items())])


def _shortened(reason: str) -> str:
    """A refusal without its numbers, so that equal ones meet, 200 letters at most."""
    whole = re.sub(r"\(\d+(, \d+)*,?\)", "(...)", " ".join(reason.split()))
    return whole if len(whole) <= 200 else whole[:200].rpartition(" ")[0] + " ..."
