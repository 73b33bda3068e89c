"""Runs and audits as HTML pages."""
