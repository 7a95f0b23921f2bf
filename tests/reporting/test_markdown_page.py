"""The same report as Markdown."""

from __future__ import annotations

import re

from locallearn.analysis import opened_all
from locallearn.reporting import html_page, markdown_page, report_of

from reporting.made_runs import made_run  # isort: skip


def test_it_says_what_the_page_says(runs):
    report = report_of(list(runs.values()), verdicts=True)
    text, charts = markdown_page(report, files="page-files")
    assert re.findall(r"\]\(page-files/(.*?)\)", text) == list(charts)
    page = html_page(report)
    headings = [re.sub(r"^#+ ", "", line) for line in text.splitlines() if line.startswith("#")]
    assert headings == re.findall(r"<h\d>(.*?)</h\d>", page.replace("&#x27;", "'"))
    numbers = re.findall(r"\d+\.\d\d ± \d\.\d\d", text)
    assert len(numbers) > 3 and all(number in page for number in numbers)


def test_tables_keep_their_columns_whatever_runs_are_called(tmp_path):
    lr = {"lr": 0.2, "epochs": 2, "batch_size": 7}
    folders = [made_run(tmp_path / "a|b <b>", "digits", [3.0], training=lr, title="one | two\nthree")]
    folders.append(made_run(tmp_path / "plain", "digits", [3.0]))
    text, _ = markdown_page(report_of(opened_all(folders)), files="x")
    for block in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE):
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
        assert len(counts) == 1, block
    assert "<b>" not in re.sub(r"`.*?`", "", text) and "a\\|b &lt;b&gt;" in text
