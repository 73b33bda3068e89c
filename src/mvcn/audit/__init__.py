"""Faults of a dataset, found before they become results."""
