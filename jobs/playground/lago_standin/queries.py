"""The queries of the stand-in: each asks the tables of its own that are shaped like Lago's."""

from functools import partial

from jobs.drivers import queries

query = partial(queries.query, "playground")
