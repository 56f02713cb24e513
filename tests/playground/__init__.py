"""The stand-in against a real Lago's recordings, the simulation, the embedded PostgreSQL. No test of the product."""
