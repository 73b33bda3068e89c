"""What a run was made with."""

import platform
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mvcn.config import RunConfig
from mvcn.data.datasets import DATASETS
from mvcn.models.registry import system
from mvcn.plugins import find_plugin

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


def describe_plugins(config: RunConfig) -> list[dict[str, str | None]]:
    """Return the kind, name, module, package and version of each plug-in of a training."""
    losses = (find_plugin("loss", name) for name, w in config.objective.losses.items() if w > 0)
    found = (
        system(config.model.network).plugin,
        find_plugin("dataset", config.data.name, DATASETS),
        *losses,
    )
    return [{"kind": one.kind, **one.to_mapping()} for one in found if one is not None]


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
