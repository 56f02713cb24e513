"""The other tools that compare two tables, each as its documentation shows it; in an environment of their own.

`python -m benchmarks.others NAME` takes the target as JSON on standard input, and prints what was found and needed.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from typing import Any

from benchmarks.measuring import peak_bytes

# The least that a comparison without ids has to ask for, and how pandas users write it.
EXPECTED = """
    SELECT end_user AS subscription, split_part(model, '/', 2) AS model, total_tokens AS tokens, "endTime" AS at
    FROM "LiteLLM_SpendLogs" ORDER BY "endTime"
"""
RECORDED = """
    SELECT external_subscription_id AS subscription, properties ->> 'model' AS model,
        coalesce(CAST(properties ->> 'total_tokens' AS integer), 0) AS tokens, "timestamp" AS at
    FROM events ORDER BY "timestamp"
"""
CONTENT = ["subscription", "model", "tokens"]


def run_pandas(database_url: str) -> dict[str, int]:
    """Read both sides with `read_sql` and merge them by content and rank in time."""
    expected, recorded = _frames(database_url)
    merged = expected.merge(recorded, on=[*CONTENT, "rank"], how="outer", indicator=True)
    return {str(name): int(count) for name, count in merged["_merge"].value_counts().items()}


def run_datacompy(database_url: str) -> dict[str, int]:
    """Read both sides as pandas does, and let datacompy compare them."""
    import datacompy  # noqa: PLC0415 - what a tool imports belongs to what it costs

    expected, recorded = _frames(database_url)
    compared = datacompy.PandasCompare(expected, recorded, join_columns=[*CONTENT, "rank"])
    return {"only_expected": len(compared.df1_unq_rows), "only_recorded": len(compared.df2_unq_rows)}


def _frames(database_url: str) -> tuple[Any, Any]:
    import pandas as pd  # noqa: PLC0415
    import sqlalchemy  # noqa: PLC0415

    engine = sqlalchemy.create_engine(database_url.replace("postgresql://", "postgresql+psycopg://"))
    frames = [pd.read_sql(text, engine) for text in (EXPECTED, RECORDED)]
    for frame in frames:
        frame["rank"] = frame.groupby(CONTENT).cumcount()
    return frames[0], frames[1]


def run_reladiff(database_url: str) -> dict[str, int]:
    """Let reladiff compare two tables whose rows share an id."""
    import reladiff  # noqa: PLC0415

    sides = [
        reladiff.connect_to_table(database_url, table, "id", extra_columns=("subscription", "tokens"))
        for table in ("shared_expected", "shared_recorded")
    ]
    return dict(Counter(sign for sign, _ in reladiff.diff_tables(*sides)))


def main() -> None:
    """Run the tool that the command line names."""
    tools = {"pandas": run_pandas, "datacompy": run_datacompy, "reladiff": run_reladiff}
    found = tools[sys.argv[1]](json.load(sys.stdin)["database_url"])
    measurement = {"seconds": 0, "cpu_seconds": time.process_time(), "peak_bytes": peak_bytes(), "found": found}
    sys.stdout.write(json.dumps(measurement))


if __name__ == "__main__":
    main()
