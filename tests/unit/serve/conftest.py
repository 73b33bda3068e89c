"""A service of a tiny run, asked in this process."""

import pytest
from starlette.testclient import TestClient

from mvcn.serve.application import create_app
from mvcn.serve.limits import Limits
from mvcn.serve.served_run import ServedRun


@pytest.fixture(scope="session")
def served(tiny_run):
    return ServedRun(tiny_run)


@pytest.fixture(scope="session")
def ask(served):
    """A client of a service that is ready."""
    with started(create_app(served, Limits())) as client:
        yield client


def started(app):
    """Return a client that waits until the service of `app` is ready."""
    return _ReadyClient(app, raise_server_exceptions=False)


class _ReadyClient(TestClient):
    def __enter__(self):
        client = super().__enter__()
        while client.get("/ready").status_code != 200:
            pass
        return client
