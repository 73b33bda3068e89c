"""Experiments behind the tables: each module writes one file of results/."""
