"""Faults of a dataset, found before they become results."""

from mvcn.audit.findings import KINDS, AuditedPosts, Finding, read_audited_posts
from mvcn.audit.run import MARK, audit, summary_lines, to_mapping

__all__ = [
    "KINDS",
    "MARK",
    "AuditedPosts",
    "Finding",
    "audit",
    "read_audited_posts",
    "summary_lines",
    "to_mapping",
]
