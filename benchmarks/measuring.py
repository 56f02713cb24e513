"""What every benchmark tells of the machine and of a process's memory."""

from __future__ import annotations

import os
import platform
import resource
import sys
from datetime import UTC, datetime
from pathlib import Path

MEGABYTE = 1_000_000


def peak_bytes() -> int:
    """Return this process's highest resident memory."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux it begins with the memory of the process that started this one.
        peak = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """Let `peak_bytes` begin anew; only Linux can."""
    if (counters := Path("/proc/self/clear_refs")).exists():
        counters.write_text("5", encoding="ascii")


def machine() -> str:
    """Return one line about the machine and how busy it is."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores ({platform.machine()}), "
        f"Python {platform.python_version()}, load averages at the end {load}"
    )
