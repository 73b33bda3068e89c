"""Settings of all tests: no network, reproducible examples."""

import os
import socket

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports a library that reads it

settings.register_profile("mvcn", deadline=None, derandomize=True)
settings.load_profile("mvcn")


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Fail a test that connects to anything but a socket of this computer's own file system."""
    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, _local_only(getattr(socket.socket, method)))
        yield


def _local_only(connect):
    def guarded(self, address):
        if self.family != socket.AF_UNIX:
            raise RuntimeError(f"A test tried to connect to {address}: tests run without network.")
        return connect(self, address)

    return guarded
