"""A service of a tiny run, asked in this process."""

import time
from contextlib import contextmanager

import pytest


@pytest.fixture(scope="session")
def served(tiny_run):
    from mvcn.serve.answering import ServedRun

    return ServedRun(tiny_run)


@pytest.fixture(scope="session")
def service(served):
    """Return a function from limits and a key to a client of a service that is ready."""
    from starlette.testclient import TestClient

    from mvcn.serve.application import create_app
    from mvcn.serve.limits import Limits

    @contextmanager
    def start(key=None, **limits):
        app = create_app(served, Limits(**limits), key)
        with TestClient(app, raise_server_exceptions=False) as client:
            while client.get("/ready").status_code != 200:
                assert client.get("/health").is_success
                time.sleep(0.02)
            yield client

    return start


@pytest.fixture(scope="session")
def ask(service):
    """A client of a service with the usual limits."""
    with service() as client:
        yield client
