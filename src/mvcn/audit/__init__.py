"""Faults of a data set, found before they become results."""

from mvcn.audit.findings import KINDS, AuditedPosts, Finding
from mvcn.audit.page import write_page
from mvcn.audit.parts import read_audited_posts
from mvcn.audit.report import MARK, audit, summary_lines, to_mapping

__all__ = [
    "KINDS",
    "MARK",
    "AuditedPosts",
    "Finding",
    "audit",
    "read_audited_posts",
    "summary_lines",
    "to_mapping",
    "write_page",
]
