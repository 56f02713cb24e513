"""Locks on folders: the operating system lets go of one when the run that holds it ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path


def lock_folder(folder: Path) -> int | None:
    """Return a descriptor that holds the folder's lock until it is closed; None where another run holds it.

    Raise `OSError` where there is no such folder, it may not be opened, or its disk knows no locks.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Its run may have ended, and removed it, since it was opened.
        if os.path.samestat(folder.stat(), os.fstat(descriptor)):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def remove_if_abandoned(folder: Path) -> bool:
    """Remove a folder that no live run holds; return whether it is gone now because of that."""
    try:
        descriptor = lock_folder(folder)
    except OSError:
        return False  # it is gone or not ours, or its disk knows no locks: then it stays
    if descriptor is None:
        return False
    try:
        shutil.rmtree(folder)
    except OSError:
        return False  # it may not be removed
    finally:
        os.close(descriptor)
    return True
