-- Brings all rows into the workspace's file; what lies in `scratch` is not a part of it. Runs on DuckDB.
CHECKPOINT
