"""Speed of mvcn beside plain code for the same work: ``python -m benchmarks``."""
