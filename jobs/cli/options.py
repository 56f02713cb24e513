"""The options that several commands share: each is a setting's text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

Command = Callable[..., None]

OPTIONS: dict[str, tuple[str, str, str]] = {
    "output": ("output", "FOLDER", "Folder in which the run leaves its folder."),
    "meter": ("meter", "NAME", "callback, input-output, agent-sdk, agent-sdk-price or custom."),
    "charge-by": ("lago.charge_by", "SOURCE", "Which value is the subscription: end_user_id, user_id, team_id …"),
}
BACKFILL_OPTIONS: dict[str, tuple[str, str, str]] = {
    "ledger-url": (
        "ledger_url",
        "URL",
        "Ledger: sqlite:///FILE or postgresql://…; default a file in the output folder.",
    ),
    "top-up": ("top_up", "true|false", "Also complete events that billed too little."),
    "most-events": ("most_events", "N", "Cap on the events of a plan."),
    "most-quantity": ("most_quantity", "N", "Cap on the quantity of one code in a plan."),
    "most-share": ("most_share", "N", "Cap on the share of a subscription's usage, from 0 to 1."),
    "slice-length": ("slice_length", "DURATION", "Length of the slices in which a long window is sent."),
}
CLUSTER_OPTIONS: dict[str, tuple[str, str, str]] = {
    "cluster": ("cluster", "ADDRESS", "Dask scheduler whose workers read and match: tcp://HOST:8786."),
}


USAGE_OPTIONS: dict[str, tuple[str, str, str]] = {
    "output": OPTIONS["output"],
    "charge-by": OPTIONS["charge-by"],
    "time-zone": ("report_time_zone", "ZONE", "Zone of the days and months, such as Asia/Seoul."),
}


config_option = click.option(
    "--config", "config_file", metavar="FILE", type=click.Path(path_type=Path), help="Configuration file (TOML)."
)


def window_options(command: Command) -> Command:
    """Add the options that name the window, and the configuration file."""
    for option in (
        config_option,
        click.option("--to", "end", metavar="INSTANT", help="End of the window, excluded."),
        click.option(
            "--from",
            "start",
            metavar="INSTANT",
            help="Start of the window, included: 2026-11-01 or with time and zone.",
        ),
    ):
        command = option(command)
    return command


def setting_options(options: dict[str, tuple[str, str, str]]) -> Callable[[Command], Command]:
    """Add an option for each of these settings."""

    def decorate(command: Command) -> Command:
        for name, (_, metavar, text) in reversed(options.items()):
            command = click.option(f"--{name}", metavar=metavar, help=text)(command)
        return command

    return decorate


def texts(options: dict[str, str | None]) -> dict[str, str]:
    """Return the given texts by the names of their settings."""
    known = {**OPTIONS, **CLUSTER_OPTIONS, **BACKFILL_OPTIONS, **USAGE_OPTIONS}
    return {known[name.replace("_", "-")][0]: text for name, text in options.items() if text is not None}
