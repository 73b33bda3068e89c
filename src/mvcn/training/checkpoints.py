"""Checkpoints that count only once complete, and survive a failed write of a later one."""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from mvcn.errors import RunError, reason_of
from mvcn.files import write_json

LOG = logging.getLogger(__name__)
CHECKPOINTS = "checkpoints"
COMPLETE_FILE = "complete"
"""Written last: the size and the digest of each file of a checkpoint."""
STATE_FILE = "trainer_state.json"
TORCH_WRITER = ("inline_container", "iostream")
"""Names in the errors that `torch.save` raises when a file cannot be written."""


def mark_complete(checkpoint: Path) -> None:
    """Record the size and digest of each file, by which the checkpoint can be checked later."""
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file())
    content = {str(path.relative_to(checkpoint)): _description(path) for path in files}
    write_json(checkpoint / COMPLETE_FILE, content)


def is_complete(checkpoint: Path) -> bool:
    """Return whether the checkpoint is complete."""
    return (checkpoint / COMPLETE_FILE).is_file()


def find_damage(checkpoint: Path) -> str | None:
    """Return what has changed in a complete checkpoint, or None."""
    try:
        described = json.loads((checkpoint / COMPLETE_FILE).read_text("utf-8"))
    except ValueError:
        return f"its file {COMPLETE_FILE} cannot be read"
    for name, expected in described.items():
        path = checkpoint / name
        if not path.is_file():
            return f"its file {name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"its file {name} has {path.stat().st_size} bytes of {expected['bytes']}"
        if _description(path) != expected:
            return f"the content of its file {name} has changed"
    return None


def choose_checkpoint(run: Path) -> Path | None:
    """Return the newest undamaged checkpoint of a run folder, and warn of newer, damaged ones.

    One whose best epoch so far is damaged counts as damaged itself: the run could not finish.

    Returns:
        None if no checkpoint is complete.

    Raises:
        RunError: All of them are damaged.
    """
    damaged: list[str] = []
    for checkpoint in _newest_first(run):
        damage = find_damage(checkpoint) or _damage_of_best(checkpoint)
        if damage is None:
            for sentence in damaged:
                LOG.warning("%s, so the run resumes from the older %s.", sentence, checkpoint.name)
            return checkpoint
        damaged.append(f"Checkpoint {checkpoint} is damaged: {damage}")
    if damaged:
        raise RunError(f"{damaged[0]}, and there is no other one: start again with --overwrite.")
    return None


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest complete checkpoint, or None."""
    return next(iter(_newest_first(run)), None)


def drop_checkpoints(run: Path) -> None:
    """Delete all checkpoints of a finished run."""
    for checkpoint in (run / CHECKPOINTS).iterdir():
        shutil.rmtree(checkpoint)


@contextmanager
def writing(target: Path, advice: str) -> Iterator[None]:
    """Turn an error of writing, such as a full disk, into one sentence.

    Args:
        target: File or folder that the block writes.
        advice: What to do about it; ends the sentence.

    Raises:
        RunError: The block could not write something.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        is_of_torch = any(part in str(error) for part in TORCH_WRITER)
        if isinstance(error, RuntimeError) and not is_of_torch:
            raise
        raise RunError(f"{target} could not be written ({_reason(error)}): {advice}") from error


def advice_after_failed_write(run: Path) -> str:
    """Return what to do after a checkpoint could not be written."""
    last = last_checkpoint(run)
    if last is None:
        return "free some space, then start again with --overwrite."
    return f"free some space, then resume from {last.name} with --resume."


def _newest_first(run: Path) -> list[Path]:
    """Return the complete checkpoints, the newest first."""
    complete = [
        (int(match[1]), path)
        for path in (run / CHECKPOINTS).iterdir()
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and is_complete(path)
    ]
    return [path for _, path in sorted(complete, reverse=True)]


def _damage_of_best(checkpoint: Path) -> str | None:
    """Return what is wrong with the checkpoint that was best when this one was written."""
    state = json.loads((checkpoint / STATE_FILE).read_text("utf-8"))
    if state["best_global_step"] is None:  # no epoch is selected
        return None
    best = checkpoint.with_name(f"checkpoint-{state['best_global_step']}")
    if best == checkpoint:
        return None
    if not is_complete(best):
        return f"the best one before it, {best.name}, is missing"
    damage = find_damage(best)
    return damage and f"of the best one before it, {best.name}, {damage}"


def _description(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {"bytes": path.stat().st_size, "blake2b": digest}


def _reason(error: Exception) -> str:
    """Return the operating system's reason, which the libraries wrap or leave out."""
    if isinstance(error, RuntimeError):
        return "it could not be written completely"
    found = re.search(r"I/O error: (.*?)( \(os error|$)", str(error))
    return found[1] if found else reason_of(error)
