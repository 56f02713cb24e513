"""How many rows a page of one of Lago's lists is asked for."""

from __future__ import annotations

SAFE_PAGE_SIZE = 100
"""The page size that every Lago allows; some allow no more."""
FIRST_PAGE_SIZE = 1000
_QUICK_SECONDS, _SLOW_SECONDS = 2.0, 10.0


class PageSize:
    """What this Lago answers in good time: larger pages cost it less per row, and larger still a timeout.

    It begins with `FIRST_PAGE_SIZE` and is doubled or halved by how long full pages take. Threads may share it.
    """

    def __init__(self, most: int) -> None:
        """Take how many rows a page may have at most, which bounds what a page costs in memory."""
        self._most = most
        self.now = min(most, FIRST_PAGE_SIZE)
        """Rows to ask for."""

    def refuse(self) -> None:
        """Go down to what every Lago allows, for good."""
        self._most = self.now = SAFE_PAGE_SIZE

    def learn(self, rows: int, seconds: float) -> None:
        """Take how long Lago needed for a page of so many rows; only a page as large as is asked for now tells."""
        if rows != self.now:
            return
        if seconds < _QUICK_SECONDS:
            self.now = min(self._most, 2 * self.now)
        elif seconds > _SLOW_SECONDS:
            self.now = max(min(self._most, SAFE_PAGE_SIZE), self.now // 2)


def refuses_page_size(payload: object, per_page: int) -> bool:
    """Tell whether a 422 refuses this page size, so that `SAFE_PAGE_SIZE` is worth a try."""
    details = payload.get("error_details") if isinstance(payload, dict) else None
    return isinstance(details, dict) and "per_page" in details and per_page > SAFE_PAGE_SIZE
