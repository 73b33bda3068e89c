"""Faults and load that a service and its jobs must survive, measured; see `__main__`."""
