"""What a run was made with."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RECORDED_PACKAGES = (
    "mvcn",
    "torch",
    "transformers",
    "accelerate",
    "onnxruntime",
    "numpy",
    "pillow",
)


def describe_environment() -> dict[str, Any]:
    """Return versions and, for a git checkout, its commit."""
    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "git_commit": _git_commit(),
    }


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, without those that are not installed."""
    found = {}
    for name in RECORDED_PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


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
