"""Processes that work for another one: what they know of it, and how they share the machine."""

import os

import torch

from mvcn.workers import worker_pool


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
