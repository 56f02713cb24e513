"""The report's page: one HTML document that needs nothing else, and asks nobody for anything.

Every text goes through the template engine's escaping and loses its control characters first, whoever wrote it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.adapters.page.charts import time_chart
from jobs.core.telling.page import ReportPage
from jobs.core.text import visible


def render(page: ReportPage) -> Iterator[bytes]:
    """Yield the page's bytes: the same for the same page, everywhere."""
    style, script = asset("report.css"), asset("report.js")
    template = environment().get_template("report.html")
    pieces = template.generate(
        page=page,
        drawing=time_chart(page.times) if page.times else None,
        style=Markup(style),  # noqa: S704 - a file of the package
        script=Markup(script),  # noqa: S704 - a file of the package
        policy=f"default-src 'none'; style-src '{content_hash(style)}'; script-src '{content_hash(script)}'; "
        "base-uri 'none'; form-action 'none'",
    )
    yield from (piece.encode() for piece in pieces)


def content_hash(text: str) -> str:
    """Return what a Content-Security-Policy allows this text by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


@cache
def asset(name: str) -> str:
    """Return a style sheet or script of the pages."""
    return resources.files(__package__).joinpath("templates", name).read_text(encoding="utf-8").strip()


@cache
def environment() -> Environment:
    """Return the engine of the package's templates."""
    return Environment(
        loader=PackageLoader("jobs.adapters.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown(value: object) -> object:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
