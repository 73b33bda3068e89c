"""Where a constraint on features helps: losses compared over regimes of real data."""
