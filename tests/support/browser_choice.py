"""Which browser the page is tested in: what `TEST_BROWSER` asks for, or the Chromium that this machine has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

NAMES = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True, slots=True)
class BrowserChoice:
    """A browser, or why there is none."""

    path: str | None
    """The program; None where the tests that need one are skipped."""
    because: str
    """Why it is this one or none, for the header of the test run."""

    @property
    def header(self) -> str:
        """Return the line for the header of the test run."""
        return f"Browser: {self.path or 'none, its tests are skipped'} ({self.because})"


class UnavailableBrowserError(Exception):
    """`TEST_BROWSER` asks for a program that is not there."""


def choose_browser(asked: str, find: Callable[[str], str | None]) -> BrowserChoice:
    """Return the browser to use.

    `asked` is the value of `TEST_BROWSER`: a program, `none`, or empty for a Chromium where there is one. `find` looks
    a program up. Raises `UnavailableBrowserError` if what was asked for is not there; it is never replaced.
    """
    if asked == "none":
        return BrowserChoice(None, "TEST_BROWSER=none")
    if asked:
        found = find(asked)
        if found is None:
            raise UnavailableBrowserError(f"TEST_BROWSER asks for {asked!r}, which is no program here")
        return BrowserChoice(found, "TEST_BROWSER asks for it")
    for name in NAMES:
        found = find(name)
        if found is not None:
            return BrowserChoice(found, "found here")
    return BrowserChoice(None, "no Chromium found: install Debian's package chromium, or set TEST_BROWSER to one")
