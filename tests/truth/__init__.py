"""Simulated worlds whose truth is known, played by `make truth` and `make dense`; a few of them in every test run."""
