"""The laws of docs/matching.md, as properties of whole runs. Single examples belong to the scenarios."""
