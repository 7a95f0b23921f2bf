"""A figure as a piece of an HTML page."""

from __future__ import annotations

import hashlib
import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from locallearn.plotting.figure_file import INK, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LEFT_OUT = ("metadata", "style")


def svg_text(figure: Figure, *, alt: str) -> str:
    """A figure as one `<svg>` element, to stand in HTML.

    It is as wide as what it stands in. Ink takes the colour of the text around it and the background is the page's, so
    that it can be read in light and in dark schemes. Identical figures give identical text.

    Args:
        figure: Drawn inside of `styled`.
        alt: What it shows, for those who cannot see it.

    Returns:
        The element, without XML declaration, with ids of its own.
    """
    buffer = io.StringIO()
    with styled():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(buffer.getvalue())
    prefix = "f" + hashlib.sha256((alt + buffer.getvalue()).encode()).hexdigest()[:10] + "-"
    _strip(root)
    _rename(root, prefix)
    for element in root.iter():
        if style := element.get("style"):
            element.set("style", _recolored(style))
    title = ElementTree.Element("title")
    title.text = alt
    root.insert(0, title)
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg", "viewBox": root.attrib["viewBox"], "width": "100%", "role": "img",
        "aria-label": alt, "fill": "currentColor", "stroke-linejoin": "round", "stroke-linecap": "butt",
    }  # fmt: skip
    return ElementTree.tostring(root, encoding="unicode")


def _strip(root: ElementTree.Element) -> None:
    """Take away namespaces, and what would speak for the whole page or to no reader."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in _LEFT_OUT:
                parent.remove(child)
        parent.tag = parent.tag.rpartition("}")[2]
        parent.attrib = {name.rpartition("}")[2]: value for name, value in parent.attrib.items()}


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Ids that something refers to get the prefix; the others go."""
    text = ElementTree.tostring(root, encoding="unicode")
    for element in root.iter():
        name = element.attrib.pop("id", None)
        if name is not None and (f'"#{name}"' in text or f"url(#{name})" in text):
            element.set("id", prefix + name)
        for key, value in element.attrib.items():
            if value.startswith("#") and key == "href":
                element.set(key, f"#{prefix}{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{prefix}"))


def _recolored(style: str) -> str:
    parts = [part.strip().replace(INK, "currentColor") for part in style.split(";")]
    kept = [part for part in parts if part and not part.startswith(("stroke-linejoin", "font-family"))]
    return "; ".join(_fonted(part) for part in kept)


def _fonted(part: str) -> str:
    if not part.startswith("font:"):
        return part
    size = part.removeprefix("font:").partition("'")[0].strip()
    return f"font: {size} system-ui, sans-serif"
