"""The usage report's page: one HTML document that needs nothing else."""

from __future__ import annotations

from decimal import Decimal

from markupsafe import Markup

from jobs.adapters.page import asset, content_hash, environment


def render_usage(**values: object) -> bytes:
    """Return the page's bytes: the same for the same values, everywhere."""
    template = environment().get_template("usage.html")
    style = asset("report.css")
    page = template.render(
        grouped=_grouped,
        money=_money,
        share=_share,
        style=Markup(style),  # noqa: S704 - a file of the package
        policy=f"default-src 'none'; style-src '{content_hash(style)}'; base-uri 'none'; form-action 'none'",
        **values,
    )
    return page.encode() + b"\n"


def _grouped(number: Decimal | int | None, *, sign: bool = False) -> str:
    """Return a number with its thousands apart; a dash where there is none."""
    return "–" if number is None else f"{Decimal(number):+,f}" if sign else f"{Decimal(number):,f}"  # noqa: RUF001 - a dash is meant


def _money(amount: Decimal | str, *, sign: bool = False) -> str:
    """Return an amount of money to the hundredth of a cent; the files hold it exactly."""
    return f"{Decimal(amount):+,.4f}" if sign else f"{Decimal(amount):,.4f}"


def _share(part: Decimal | int, whole: Decimal | int) -> str:
    """Return a part in percent of its whole, for the length of a bar."""
    return f"{Decimal(100) * part / whole:.1f}" if whole else "0"
