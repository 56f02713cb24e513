"""Settings: the only reader of the environment and of the configuration file.

Each setting has one name in the configuration file and one environment variable; where LiteLLM or Lago's own tools
already have a variable, it is that one. A command-line option beats the environment, the environment beats the file.
"""

from jobs.settings.commands import (
    backfill_settings,
    doctor_settings,
    is_manual,
    ledger_url,
    notification,
    publication,
    reconcile_settings,
    usage_settings,
)
from jobs.settings.declarations import SETTINGS
from jobs.settings.pairs import read_pairs
from jobs.settings.setting import Setting
from jobs.settings.sources import Settings, load_settings, survey_settings, termination_log
from jobs.settings.texts import parse_instant

__all__ = [
    "SETTINGS",
    "Setting",
    "Settings",
    "backfill_settings",
    "doctor_settings",
    "is_manual",
    "ledger_url",
    "load_settings",
    "notification",
    "parse_instant",
    "publication",
    "read_pairs",
    "reconcile_settings",
    "survey_settings",
    "termination_log",
    "usage_settings",
]
