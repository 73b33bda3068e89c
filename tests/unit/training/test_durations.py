"""Seconds of the clock by step, and of the processor."""

import subprocess
import sys
import time

from mvcn.training.durations import Durations

BUSY = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_waiting_is_no_work_of_the_processor():
    durations = Durations()
    time.sleep(0.3)
    durations.start_training()
    time.sleep(0.5)
    found = durations.to_mapping()
    assert 0.3 <= found["seconds"]["image_features"] < 5
    assert 0.5 <= found["seconds"]["training"] < 5
    assert found["processor_seconds"] < 0.4


def test_the_work_of_other_processes_counts():
    durations = Durations()
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    assert 0.3 <= durations.to_mapping()["processor_seconds"] < 5
