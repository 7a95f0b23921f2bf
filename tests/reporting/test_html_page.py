"""The page, as a parser and as a browser read it."""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from locallearn.analysis import opened_all
from locallearn.reporting import html_page, report_of
from reporting.made_runs import found, made_run

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
EVIL = "<script>alert(1)</script>"
browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


class Tags(HTMLParser):
    """All tags with their attributes, and whether they are closed in order."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Drawn once: two data sets, one run under way, one analysis."""
    folder = tmp_path_factory.mktemp("runs")
    made = [
        made_run(folder / "dgl", "cifar10_resnet32_k16_dgl", [30.0, 14.0]),
        made_run(folder / "man", "cifar10_resnet32_k16_dgl+man", [25.0, None], finished=False),
        made_run(folder / "other", "svhn_resnet32_k16_dgl", [5.0, 4.0]),
    ]
    found(made[0], "probe", accuracy=[40.0, 60.0], deviation=[1.0, 1.0])
    runs = opened_all(made)
    return html_page(report_of(runs, verdicts=True, flops=dict.fromkeys(runs, 10**9)))


def test_every_picture_has_text_and_every_tag_its_end(page):
    read = Tags(page)
    assert not read.open
    pictures = [attrs for tag, attrs in read.tags if tag == "svg"]
    assert len(pictures) == 10 and not [tag for tag, _ in read.tags if tag in ("img", "script", "link", "iframe")]
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 20 for attrs in pictures)
    assert ("html", {"lang": "en"}) in read.tags


def test_nothing_is_asked_of_a_network(page):
    read = Tags(page)
    assert set(re.findall(r"https?://[^\"'< )]*", page)) == {"http://www.w3.org/2000/svg"}
    for tag, attrs in read.tags:
        assert not {"src", "srcset", "action", "data", "poster"} & set(attrs), tag
        for name in ("href", "xlink:href"):
            assert attrs.get(name, "#").startswith("#"), (tag, attrs)
    assert all(target.startswith("#") for target in re.findall(r"url\(\s*['\"]?([^)]*)", page))
    assert "@import" not in page
    assert any("default-src 'none'" in attrs.get("content", "") for _, attrs in read.tags)


def test_links_lead_somewhere_and_names_are_given_once(page):
    read = Tags(page)
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs[name][1:] for _, attrs in read.tags for name in ("href", "xlink:href") if name in attrs]
    assert targets and set(targets) <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", page)) <= set(ids)


def test_a_mark_spans_all_of_its_sources(page):
    rows = page.partition('<table class="sources">')[2].partition("<tbody>")[2].split("<tr>")[1:]
    marked = [place for place, row in enumerate(rows) if row.startswith("<th")]
    spans = [int(attrs["rowspan"]) for _, attrs in Tags(page).tags if "rowspan" in attrs]
    assert spans == [after - before for before, after in pairwise([*marked, len(rows)])] and max(spans) > 1


def test_names_of_runs_are_text_and_never_markup(tmp_path):
    changes = {"title": f"{EVIL} & <b>", "training": {"lr": 0.2, "epochs": 2, "batch_size": 7}}
    folders = [
        made_run(tmp_path / EVIL.replace("/", "_"), "digits", [3.0], **changes),
        made_run(tmp_path / '"><img src=x onerror=1>', "digits", [4.0]),
    ]
    for folder in folders:
        found(folder, f"similarity-with-{EVIL.replace('/', '_')}", curve=[0.5, 0.4], mean=0.4)
    page = html_page(report_of(opened_all(folders), title=EVIL, verdicts=True))
    read = Tags(page)
    assert not [
        tag for tag, attrs in read.tags if tag in ("script", "img", "b") or any(k.startswith("on") for k in attrs)
    ]
    assert EVIL in "".join(read.text)


def chromium(path, tmp_path, *words):
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    command += ["--disable-background-networking", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([*command, *words, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@browser
def test_a_browser_has_nothing_to_complain_of(page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", "<img src='http://127.0.0.1:9/x.png'></body>"))
    _, complaints = chromium(file, tmp_path, "--dump-dom")
    assert len(complaints) == 1 and "Content Security Policy" in complaints[0]
    file.write_text(page)
    content, complaints = chromium(file, tmp_path, "--dump-dom")
    assert not complaints and content.count("<svg") == 10


@browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_is_as_wide_as_the_screen(page, tmp_path, width):
    # A window is not made as narrow as a phone, but a frame is.
    file = tmp_path / "frame.html"
    frame = f'<iframe style="width: {width}px; height: 900px; border: 0" srcdoc="{escape(page)}"></iframe>'
    measure = """<script>onload = () => {
        const root = document.querySelector("iframe").contentDocument
        const wide = [root.documentElement.scrollWidth, ...[...root.querySelectorAll("svg")].map(x => x.clientWidth)]
        document.title = wide.join(" ")
    }</script>"""
    file.write_text(f"<title></title>{frame}{measure}")
    content, _ = chromium(file, tmp_path, "--hide-scrollbars", "--dump-dom")
    whole, *pictures = map(int, re.search(r"<title>(.*?)</title>", content)[1].split())
    assert whole == width and len(pictures) == 10 and all(280 < picture <= 600 for picture in pictures)
