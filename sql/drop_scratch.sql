-- What the stages within subscriptions needed and nothing after them does: a shard hands on the rest. Runs on DuckDB.
DROP TABLE listed_event;
DROP TABLE IF EXISTS content;
DROP TABLE IF EXISTS candidate;
DROP TABLE IF EXISTS island_member;
DROP TABLE IF EXISTS island;
DROP TABLE IF EXISTS ranked_pair;
CHECKPOINT;
