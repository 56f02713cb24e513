"""Charts as SVG without a style of their own: the page's style sheet colours them, in light and in dark.

pygal computes the drawing; what it adds for a page of its own (style, script, a date, random ids) is taken away.
"""

from __future__ import annotations

from xml.etree import ElementTree

import pygal
from pygal.etree import etree

from jobs.core.telling.page import TimeChart

_NAMESPACE = "{http://www.w3.org/2000/svg}"
_MOST_LABELS = 12


def time_chart(chart: TimeChart) -> str:
    """Return what is missing and too much over time as SVG: bars side by side, never netted."""
    etree.to_etree()  # whether or not lxml happens to be installed
    drawing = pygal.Bar(
        width=1080,
        height=280,
        margin=10,
        spacing=4,
        show_legend=False,
        explicit_size=False,
        show_minor_x_labels=False,
        truncate_label=-1,
        min_scale=3,
        max_scale=5,
        value_formatter=lambda value: f"{value:,.0f}",
    )
    labels = [step.label for step in chart.steps]
    every = -(-len(labels) // _MOST_LABELS)
    drawing.x_labels = labels
    drawing.x_labels_major = labels[::every]
    drawing.add("missing", [{"value": step.missing, "label": "missing"} for step in chart.steps])
    drawing.add("surplus", [{"value": step.surplus, "label": "too much"} for step in chart.steps])
    root = drawing.render_tree()
    _strip(root)
    for name in ("id", "class"):
        root.attrib.pop(name, None)
    root.set("class", "chart")
    root.set("role", "img")
    root.set("aria-label", chart.title)
    return ElementTree.tostring(root, encoding="unicode")


def _strip(parent: ElementTree.Element) -> None:
    """Remove comments, definitions, tooltips and empty parts, and turn each bar's figures into its title."""
    for child in list(parent):
        if not isinstance(child.tag, str) or child.tag in {"defs", "title", f"{_NAMESPACE}defs"}:
            parent.remove(child)
            continue
        _strip(child)
        if child.get("class") == "bar":
            _title(child)
        if (child.tag == "g" and not len(child) and not child.text) or child.get("class") == "tooltip":
            parent.remove(child)
    parent.attrib.pop("style", None)


def _title(bar: ElementTree.Element) -> None:
    said = {desc.get("class", ""): desc.text or "" for desc in bar.findall("desc")}
    for desc in bar.findall("desc"):
        bar.remove(desc)
    title = ElementTree.SubElement(bar, "title")
    title.text = f"{said.get('x_label', '')}: {said.get('value', '')} {said.get('label', '')}".strip()
