"""What a bulk job leaves on disk, and how one job is kept from mixing with another."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mvcn.errors import RunError
from mvcn.files import require_allowed, write_json
from mvcn.inference.onnx_model import FILES
from mvcn.inference.shard_files import ERRORS, PREDICTIONS
from mvcn.inference.shard_scorer import Scoring
from mvcn.inference.shards import InputFile
from mvcn.inputs.attributes import SAVED_FOLDER
from mvcn.outputs import LOCK, remove_contents, require_output_folder, require_same_settings
from mvcn.training import run_folder

MANIFEST = "manifest.json"
SUMMARY = "summary.json"
KIND = "job"
WEIGHTS = "model.safetensors"
SETTINGS_SUFFIXES = (".json", ".txt", ".model")
"""Of the files beside the weights that decide how posts are read."""
PARTS = {"model": "model", "inputs": "input", "mvcn": "version of mvcn"}
"""Part of a manifest -> what it is called in a sentence."""


def manifest_of(scoring: Scoring, inputs: Sequence[InputFile]) -> dict[str, Any]:
    """Return all that decides a job's output.

    Args:
        scoring: How posts are scored.
        inputs: The files.

    Raises:
        RunError: The run is not finished, or has no file for the backend.
    """
    settings = {
        name: value for name, value in asdict(scoring).items() if name not in ("run", "output")
    }
    settings["columns"] = dict(scoring.columns)
    settings["images"] = None if scoring.images is None else str(scoring.images)
    return {
        "mvcn": version("mvcn"),
        "model": _fingerprint(scoring),
        "settings": settings,
        "rows": sum(source.rows for source in inputs),
        "inputs": [
            {
                "file": source.file.name,
                "bytes": source.file.size_bytes,
                "rows": source.rows,
                "digest": source.digest,
            }
            for source in inputs
        ],
    }


def require_job_folder(folder: Path) -> None:
    """Raise a RunError unless the folder is new, empty, or that of a job."""
    is_own = (folder / MANIFEST).is_file()
    require_output_folder(folder, KIND, is_own=is_own, overwrite=True, ignored=(LOCK,))


def create_job_folder(folder: Path, manifest: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make the folder ready for this job, or for continuing it.

    Args:
        folder: Of the job, locked.
        manifest: Of the job.
        overwrite: Start anew, whatever is there.

    Raises:
        RunError: It holds a job with another model, input, settings or version.
    """
    path = folder / MANIFEST
    if path.is_file() and not overwrite:
        before, now = _read(path), json.loads(json.dumps(manifest))
        require_same_settings(folder, KIND, _by_name(before), _by_name(now))
        return
    remove_contents(folder, (PREDICTIONS, ERRORS, SUMMARY))
    for name in (PREDICTIONS, ERRORS):
        (folder / name).mkdir()
    write_json(path, manifest)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is damaged: choose another folder, or --overwrite.") from error
    return content if isinstance(content, dict) else {}


def _by_name(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return each part of a manifest, and each of its settings, by its name in a sentence."""
    parts = {what: manifest.get(part) for part, what in PARTS.items()}
    return parts | dict(manifest.get("settings", {}))


def _fingerprint(scoring: Scoring) -> str:
    """Return a digest of the files of a run that decide its scores."""
    run = scoring.run
    require_allowed(run, RunError)
    if not run_folder.is_finished(run):
        raise RunError(f"{run} is no finished run: give a folder that mvcn train has written.")
    name = FILES.get(scoring.backend, WEIGHTS)
    beside = [path for path in run.iterdir() if path.suffix in SETTINGS_SUFFIXES]
    told = {run_folder.METRICS_FILE, run_folder.ENVIRONMENT_FILE}  # of the training
    files = [path for path in beside if path.name not in told]
    files += [path for path in (run / SAVED_FOLDER).rglob("*") if path.is_file()]
    digest = hashlib.blake2b(digest_size=16)
    for path in [run / name, *sorted(files)]:
        digest.update(f"{path.relative_to(run)}\n".encode())
        require_allowed(path, RunError)
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, hashlib.blake2b).digest())
        except FileNotFoundError as error:
            raise RunError(f"There is no {path}: make it by mvcn train or mvcn export.") from error
    return digest.hexdigest()
