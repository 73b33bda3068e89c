import dataclasses

import pytest

from mvcn.audit.findings import AuditedPosts
from mvcn.types import Post

FIELDS = {field.name for field in dataclasses.fields(Post)}


@pytest.fixture
def audited():
    """Return a function from columns (lists of equal length) and splits to posts for an audit."""

    def build(splits=None, facts=None, class_names=("a", "b"), **columns):
        assert set(columns) <= FIELDS
        count = len(next(iter(columns.values())))
        columns = {"text": [""] * count, "image": [None] * count, **columns}
        columns.setdefault("id", [f"p{i}" for i in range(count)])
        rows = zip(*columns.values(), strict=True)
        posts = [Post(**dict(zip(columns, row, strict=True))) for row in rows]
        return AuditedPosts(posts, class_names, facts or [None] * count, splits or {})

    return build
