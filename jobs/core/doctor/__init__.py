"""What the doctor asks, and what it makes of the answers. `jobs.doctor` and the adapters do the asking."""
