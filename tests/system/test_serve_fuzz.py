"""Requests made up from the service's own schema."""

import os
import subprocess
import sys

PROGRAM = """
import sys
from pathlib import Path

import schemathesis
from hypothesis import settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mvcn.serve.application import create_app
from mvcn.serve.limits import Limits
from mvcn.serve.answering import ServedRun

app = create_app(ServedRun(Path(sys.argv[1])), Limits())
schema = schemathesis.openapi.from_asgi("/openapi.json", app)
CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
seen = {}

for result in schema.get_all_operations():
    operation = result.ok()
    strategy = operation.as_strategy()

    @settings(max_examples=int(sys.argv[2]), deadline=None, derandomize=True, database=None)
    @__import__("hypothesis").given(case=strategy)
    def check(case):
        response = case.call()
        seen.setdefault(operation.label, set()).add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    check()
print(seen)
"""
EXAMPLES = 12


def test_no_made_up_request_is_a_fault(tiny_run):
    environment = {**os.environ, "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tiny_run), str(EXAMPLES)],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "POST /predict" in done.stdout
