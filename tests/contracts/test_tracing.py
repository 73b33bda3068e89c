"""Export and compilation, in a process without shape checks, which cannot be traced."""

import subprocess
import sys
from pathlib import Path

CASES = Path(__file__).with_name("tracing_cases.py")


def test_exports_and_compiles():
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    run = subprocess.run([*command, str(CASES)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
