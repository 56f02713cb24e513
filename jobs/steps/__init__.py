"""The steps of a run, each a room of its own: read, match, report, plan, apply, verify, settle.

None reads the environment or prints, and none imports a later one.
"""
