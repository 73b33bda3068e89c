"""Processes that work for another one: what they know of it, and how they share the machine."""

import multiprocessing
import os
import time

import pytest
import torch

from mvcn.workers import CAN_COPY, in_copies, worker_pool

in_copies_here = pytest.mark.skipif(not CAN_COPY, reason="copies cannot compute on this system")


def nothing():
    """Prepare a process by nothing."""


def ask(function, *arguments, workers=1):
    with worker_pool(workers, "mvcn.workers", nothing) as pool:
        return pool.submit(function, *arguments).result()


def test_a_later_process_has_the_environment_of_its_own_time(monkeypatch):
    monkeypatch.setenv("MVCN_TEST", "first")
    assert ask(os.getenv, "MVCN_TEST") == "first"
    monkeypatch.setenv("MVCN_TEST", "second")
    assert ask(os.getenv, "MVCN_TEST") == "second"
    monkeypatch.delenv("MVCN_TEST")
    assert ask(os.getenv, "MVCN_TEST") is None


def test_processes_share_the_cores():
    cores = os.cpu_count() or 1
    assert ask(torch.get_num_threads) == cores
    assert ask(torch.get_num_threads, workers=cores + 1) == 1


@in_copies_here
def test_copies_know_what_this_process_knows_and_compute_in_one_thread():
    left, right = torch.randn(2, 300, 300)
    (left @ right).sum()  # by PyTorch's threads, if there are several

    def multiply():
        return torch.get_num_threads(), (left @ right).sum().item(), os.getpid()

    with in_copies([multiply] * 3, 2) as work:
        found = [one.result() for one in work]
    assert {threads for threads, *_ in found} == {1}
    for _, total, _ in found:
        assert total == pytest.approx((left @ right).sum().item(), rel=1e-4)
    assert os.getpid() not in {process for *_, process in found}


@in_copies_here
def test_copies_end_at_once_if_one_fails():
    def fail():
        raise ValueError("what was wrong")

    started = time.monotonic()
    for _ in range(20):  # copies that end at the same time must not get in each other's way
        with (
            pytest.raises(ValueError, match="what was wrong"),
            in_copies([lambda: time.sleep(60), fail], 2) as work,
        ):
            work[1].result()
        assert not multiprocessing.active_children()
    assert time.monotonic() - started < 30
