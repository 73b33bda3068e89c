"""What a run was made with."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

RECORDED_PACKAGES = ("mvcn", "torch", "transformers", "accelerate", "numpy", "pillow")


def describe_environment() -> dict[str, Any]:
    """Return versions and, for a git checkout, its commit."""
    packages = {name: version(name) for name in RECORDED_PACKAGES}
    return {"python": platform.python_version(), "packages": packages, "git_commit": _git_commit()}


def _git_commit() -> str | None:
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
