"""A seeded, realistic month of a LiteLLM gateway and of its `lago` callback, with known truth.

Everything is drawn up front into NumPy columns (about two hundred bytes a call); rows are written out as
they are asked for, so a month is never a list of Python objects. Equal settings give equal rows, in equal
order.
"""

from jobs.playground.simulation.columns import DAILY_END_USER_SPEND_COLUMNS, SPEND_LOG_COLUMNS
from jobs.playground.simulation.model import (
    LossClass,
    Side,
    SimulationSettings,
    StoredEvent,
    TruthRow,
    TruthTotal,
)
from jobs.playground.simulation.month import Simulation, simulate
from jobs.playground.simulation.world import Subscription

__all__ = [
    "DAILY_END_USER_SPEND_COLUMNS",
    "SPEND_LOG_COLUMNS",
    "LossClass",
    "Side",
    "Simulation",
    "SimulationSettings",
    "StoredEvent",
    "Subscription",
    "TruthRow",
    "TruthTotal",
    "simulate",
]
