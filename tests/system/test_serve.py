"""The service as a process: bad connections, and a stop that loses nothing."""

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from tests.system.service_process import start, stop

FINE = {"posts": [{"text": "a fine day"}]}
BODY = json.dumps(FINE).encode()
HEAD = (
    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
)
WHOLE = HEAD % len(BODY) + b"Connection: close\r\n\r\n" + BODY


@pytest.fixture(scope="module")
def service(exported_run, tmp_path_factory):
    """Port of a service that is soon out of patience, and its log."""
    log = tmp_path_factory.mktemp("serve") / "log.jsonl"
    patience = ["--head-seconds", "1", "--body-seconds", "1", "--max-connections", "20"]
    process, port = start(exported_run, log, *patience, "--max-body-mib", "0.1")
    yield port, log
    assert stop(process) == 0


def connect(port):
    return closing(socket.create_connection(("127.0.0.1", port), timeout=60))


def answer_to(port, content, *, shut=False):
    """Send bytes, and return what comes back until the service closes the connection."""
    with connect(port) as client:
        client.sendall(content)
        if shut:
            client.shutdown(socket.SHUT_WR)
        return everything(client)


def everything(client):
    parts = []
    while part := client.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


def status(answer):
    return int(answer.split()[1])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20, 400),  # a client that speaks TLS
        (b"how are you?\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000, 400),  # a head without end
        (HEAD % len(BODY) + b"Content-Length: 3\r\n\r\n" + BODY, 400),
        (HEAD % len(BODY) + b"\r\n" + BODY + b"garbage without end\r\n\r\n", 200),
        (HEAD % 10**9 + b"Expect: 100-continue\r\n\r\n", 413),
        (HEAD % 200_000 + b"\r\n" + b"x" * 200_000, 413),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
         b"Content-Type: application/json\r\n\r\nzz\r\n", 400),
        (b"GET /ready HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, close\r\n"
         b"Upgrade: websocket\r\n\r\n", 200),
    ],
)  # fmt: skip
def test_faulty_and_oversized_requests_are_answered(service, content, expected):
    port, _ = service
    answer = answer_to(port, content)
    assert status(answer) == expected
    body = answer.partition(b"\r\n\r\n")[2]
    assert expected == 200 or list(json.loads(body)) == ["error"]
    assert status(answer_to(port, WHOLE)) == 200


def test_a_body_that_ends_too_soon_is_no_fault_of_the_service(service):
    port, log = service
    answer_to(port, HEAD % 1000 + b"\r\n" + BODY, shut=True)
    assert status(answer_to(port, WHOLE)) == 200
    assert '"event": "fault"' not in log.read_text("utf-8")


@pytest.mark.parametrize(
    ("beginning", "expected"), [(b"POST /pre", b""), (HEAD % 99 + b"\r\n", b"408")]
)
def test_slow_clients_are_closed_and_delay_nobody(service, beginning, expected):
    port, _ = service
    began = time.monotonic()
    with connect(port) as slow:
        slow.sendall(beginning)
        assert status(answer_to(port, WHOLE)) == 200
        try:
            for _ in range(100):  # a byte now and then does not buy more time
                time.sleep(0.1)
                slow.sendall(b"x")
        except OSError:
            pass
        assert time.monotonic() - began < 9
    with connect(port) as silent:
        silent.sendall(beginning)
        assert expected in everything(silent)


def test_too_many_connections_are_refused_and_then_closed(service):
    port, _ = service
    held = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(20)]
    answer = answer_to(port, WHOLE)
    assert status(answer) == 503
    assert b"Retry-After" in answer or b"retry-after" in answer
    for client in held:
        client.close()
    time.sleep(0.2)
    assert status(answer_to(port, WHOLE)) == 200


def test_a_stop_under_load_loses_no_accepted_request(exported_run, tmp_path):
    log = tmp_path / "log.jsonl"
    process, port = start(exported_run, log)
    outcomes = []

    def ask_on():
        status = 200
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while status == 200:  # 503 says to ask another service
                try:
                    status = client.post("/predict", json=FINE).status_code
                except httpx2.ConnectError:
                    return
                except httpx2.TransportError as error:
                    status = repr(error)
                outcomes.append(status)

    with ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(ask_on) for _ in range(8)]
        time.sleep(1)
        assert stop(process) == 0
        for client in clients:
            client.result()
    assert set(outcomes) <= {200, 503}, outcomes[-20:]
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    answered = [line["status"] for line in lines if line.get("path") == "/predict"]
    assert sorted(answered) == sorted(outcomes)
    assert answered.count(200) > 0


def test_addresses_that_cannot_be_had_and_open_ones(fails, tiny_run, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        assert f"Cannot listen on port {port}" in fails("serve", tiny_run, "--port", port)
    assert "use a larger --queue" in fails("serve", tiny_run, "--queue", 3)
    assert str(tmp_path) in fails("serve", tmp_path, "--port", 0)


def test_a_service_that_others_can_reach_without_a_key_says_so(capsys):
    from mvcn.cli.serve import _announce

    _announce(Path("run"), "0.0.0.0", 80, None)
    assert "to require a key" in capsys.readouterr().err
    for host, key in (("0.0.0.0", "sesame"), ("127.0.0.1", None)):
        _announce(Path("run"), host, 80, key)
        assert "key" not in capsys.readouterr().err
