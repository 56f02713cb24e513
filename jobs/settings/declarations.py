"""Every setting, in the order in which they are shown."""

from __future__ import annotations

from jobs.settings.declared import database, lago, run

SETTINGS = (*database.ALL, *lago.ALL, *run.ALL)

BY_NAME = {setting.name: setting for setting in SETTINGS}
