"""Where the SQL lives: one query per file under `sql/`, named by its file."""

from functools import cache
from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "sql"
_IN_CHECKOUT = Path(__file__).parent.parent / "sql"


@cache
def query(name: str) -> str:
    """Return the text of `sql/<name>.sql`; raise `FileNotFoundError` for a name that has no file."""
    folder = _IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT
    return (folder / f"{name}.sql").read_text(encoding="utf-8")
