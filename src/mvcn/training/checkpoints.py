"""Checkpoints count only when they are complete; one on disk survives a write that fails."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from mvcn.errors import RunError, reason_of
from mvcn.files import write_json

CHECKPOINTS = "checkpoints"
COMPLETE_FILE = "complete"
"""Written last: the size and the digest of each file of a checkpoint."""
STATE_FILE = "trainer_state.json"
TORCH_WRITER = ("inline_container", "iostream")
"""What `torch.save` names one of when a file cannot be written."""


def mark_complete(checkpoint: Path) -> None:
    """Record the files of a checkpoint, by which it can be checked from now on."""
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
        return f"its file {COMPLETE_FILE} is not readable"
    for name, expected in described.items():
        path = checkpoint / name
        if not path.is_file():
            return f"its file {name} is missing"
        if path.stat().st_size != expected["bytes"]:
            return f"its file {name} has {path.stat().st_size} bytes of {expected['bytes']}"
        if _description(path) != expected:
            return f"the content of its file {name} has changed"
    return None


def choose_checkpoint(run: Path, notify: Callable[[str], None]) -> Path | None:
    """Return the newest checkpoint that is not damaged, and report newer ones that are.

    One whose best epoch so far is damaged counts as damaged itself: the run could not end.

    Args:
        run: Run folder.
        notify: Takes a sentence that names a damaged checkpoint and the one used instead.

    Returns:
        None where no checkpoint is complete.

    Raises:
        RunError: All of them are damaged.
    """
    damaged: list[str] = []
    for checkpoint in _newest_first(run):
        damage = find_damage(checkpoint) or _damage_of_best(checkpoint)
        if damage is None:
            for sentence in damaged:
                notify(f"{sentence}, so the run resumes from {checkpoint.name}, before it.")
            return checkpoint
        damaged.append(f"Checkpoint {checkpoint} is damaged: {damage}")
    if damaged:
        raise RunError(
            f"{damaged[0]}, and there is no other one: start the run again by --overwrite."
        )
    return None


def last_checkpoint(run: Path) -> Path | None:
    """Return the newest complete checkpoint, if there is one."""
    return next(iter(_newest_first(run)), None)


def drop_checkpoints(run: Path) -> None:
    """Delete all checkpoints of a finished run."""
    for checkpoint in (run / CHECKPOINTS).iterdir():
        shutil.rmtree(checkpoint)


@contextmanager
def writing(target: Path, advice: str) -> Iterator[None]:
    """Turn an error of writing, such as a full disk, into one sentence.

    Args:
        target: What is written in the block, for the sentence.
        advice: The end of the sentence: what to do.

    Raises:
        RunError: Something in the block could not be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        is_of_torch = any(part in str(error) for part in TORCH_WRITER)
        if isinstance(error, RuntimeError) and not is_of_torch:
            raise
        raise RunError(f"{target} could not be written ({_reason(error)}): {advice}") from error


def advice_after_failed_write(run: Path) -> str:
    """Return what a user can do once a checkpoint could not be written."""
    last = last_checkpoint(run)
    if last is None:
        return "make room, then start the run again by --overwrite."
    return f"make room, then resume from {last.name} by --resume."


def _newest_first(run: Path) -> list[Path]:
    """Return the complete checkpoints."""
    complete = [
        (int(match[1]), path)
        for path in (run / CHECKPOINTS).iterdir()
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and is_complete(path)
    ]
    return [path for _, path in sorted(complete, reverse=True)]


def _damage_of_best(checkpoint: Path) -> str | None:
    """Return what is wrong with the best checkpoint at the time of this one."""
    state = json.loads((checkpoint / STATE_FILE).read_text("utf-8"))
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
    """Return the reason of the operating system, which the libraries wrap or leave out."""
    if isinstance(error, RuntimeError):
        return "the disk did not take all of it"
    found = re.search(r"I/O error: (.*?)( \(os error|$)", str(error))
    return found[1] if found else reason_of(error)
