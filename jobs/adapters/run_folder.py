"""The folder that a run leaves behind: written aside and put in place whole, or not at all.

A run that is killed leaves its folder aside. The next run in the same output folder removes it: a live run holds a lock
on its own, which the operating system lets go of when the run ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from types import TracebackType
from typing import Any, Self

import orjson

from jobs.drivers.folder_locks import remove_if_abandoned
from jobs.errors import SettingError


def replace_file(path: Path, lines: Iterable[bytes]) -> None:
    """Put a file in place whole: another reader sees the old one or the new one."""
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("wb") as file:
        file.writelines(lines)
    aside.replace(path)


def room_for_runs(output: Path) -> int:
    """Return how many bytes are free where runs leave their folders; raise `SettingError` if it cannot be written."""
    folder = next(path for path in (output.absolute(), *output.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            return shutil.disk_usage(folder).free
    except OSError as error:
        raise SettingError(
            f"cannot write to the output folder {str(output)!r}: {error.strerror}",
            "Set RECONCILE_OUTPUT to one that can be",
        ) from error


class RunFolder:
    """A context manager: on success the folder appears under its name, on failure nothing is left."""

    def __init__(self, output: Path, name: str, scratch: Path | None = None) -> None:
        """Name the folder, `output/name`; its scratch folder is within it, or one of its own in `scratch`."""
        self.path = output / name
        self.removed: tuple[str, ...] = ()
        """What killed runs had left aside, by name; known once the folder is entered."""
        self._aside = output / f".{name}.partial"
        self._scratch = self._aside / "workspace" if scratch is None else scratch / f"litellm-lago-run-{token_hex(8)}"
        self._lock: int | None = None

    def __enter__(self) -> Self:
        """Make the folder; raise `SettingError` where it, or the scratch folder, cannot be written."""
        try:
            self._make()
        except BaseException:  # a signal too: what was never entered is never left
            self._tidy_up()
            raise
        return self

    def _make(self) -> None:
        output, scratch = self._aside.parent, self._scratch.parent
        try:
            output.mkdir(parents=True, exist_ok=True)
            self.removed = _remove_abandoned(output)
            self._lock = _make_locked(self._aside)
        except OSError as error:
            raise SettingError(
                f"cannot write to the output folder {str(output)!r}: {error.strerror}",
                "Set --output to one that can be",
            ) from error
        try:
            self._scratch.mkdir(mode=0o700)
        except OSError as error:
            raise SettingError(
                f"cannot write to the folder for working files {str(scratch)!r}: {error.strerror}",
                "Set RECONCILE_SCRATCH to one that can be written",
            ) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._aside.rename(self.path)
        self._tidy_up()

    def _tidy_up(self) -> None:
        if self._lock is None:
            remove_if_abandoned(self._aside)  # another run's, where it holds the lock
            return
        self.discard_scratch()
        shutil.rmtree(self._aside, ignore_errors=True)
        os.close(self._lock)

    @property
    def scratch(self) -> Path:
        """A folder for the run's own use that `discard_scratch` removes."""
        return self._scratch

    def discard_scratch(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self._scratch, ignore_errors=True)

    def file(self, name: str) -> Path:
        """Return where to write a file of this name."""
        return self._aside / name

    def keep(self, path: Path, name: str) -> None:
        """Let a file that was made in the scratch folder stay under this name."""
        shutil.move(path, self._aside / name)

    def write_lines(self, name: str, lines: Iterable[bytes]) -> None:
        """Write lines that end in their line breaks."""
        with (self._aside / name).open("wb") as file:
            file.writelines(lines)

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write one JSON document, keys in the given order."""
        (self._aside / name).write_bytes(
            orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"
        )


def _make_locked(folder: Path) -> int:
    """Make a folder and return a descriptor that holds its lock, whoever tidies up meanwhile."""
    while True:
        folder.mkdir()
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # a disk without locks: nothing is ever taken for abandoned there
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Another run may have taken the new folder for an abandoned one, in the moment before it was locked.
            if folder.exists() and os.path.samestat(folder.stat(), os.fstat(descriptor)):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _remove_abandoned(output: Path) -> tuple[str, ...]:
    """Remove the folders that no live run holds, and return their names."""
    return tuple(path.name for path in sorted(output.glob(".*Z-*Z-*.partial")) if remove_if_abandoned(path))
