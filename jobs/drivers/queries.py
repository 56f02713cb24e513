"""Where the SQL lives: one query per file under `sql/`, in a folder per database, named by its file."""

from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_IN_WHEEL = _PACKAGE / "sql"
_IN_CHECKOUT = _PACKAGE.parent / "sql"


@cache
def _files(database: str) -> dict[str, Path]:
    folder = (_IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT) / database
    return {path.stem: path for path in folder.rglob("*.sql")}


@cache
def query(database: str, name: str) -> str:
    """Return the text of `<name>.sql`, anywhere under `sql/<database>/`; raise `KeyError` where there is none."""
    return _files(database)[name].read_text(encoding="utf-8")
