"""Lago's stand-in, the simulation, the embedded PostgreSQL and the recording: for the demo, the tests and the
benchmarks. The product must not import any of it.
"""
