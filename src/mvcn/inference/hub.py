"""Models of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mvcn.errors import RunError, reason_of

ALLOWED_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.onnx", "*.yaml"]
"""No pickles and no code: neither is ever read."""
IGNORED_FILES = ["checkpoints/*"]
REASONS: dict[type[Exception], str] = {
    RepositoryNotFoundError: "it has none that you may read",
    RevisionNotFoundError: "it has no such revision of it",
    LocalEntryNotFoundError: "it cannot be reached, and its cache on this machine has none",
}


def download(name: str, revision: str | None) -> Path:
    """Return the folder of a model of the hub, from its cache if it is there.

    Args:
        name: Such as ``someone/posts``.
        revision: Branch, tag or commit; by default the main branch.

    Raises:
        RunError: There is none, or it may not be read.
    """
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=ALLOWED_FILES, ignore_patterns=IGNORED_FILES
        )
    except HFValidationError as error:
        raise RunError(
            f"'{name}' is neither a folder nor a name as the Hugging Face hub has them."
        ) from error
    except Exception as error:  # the hub's client lets errors of several libraries through
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise RunError(
                f"The model '{name}' cannot be kept in the cache ({reason_of(error)}: "
                f"{error.filename}): set HF_HOME to a folder that can be written."
            ) from error
        kinds = (why for kind, why in REASONS.items() if isinstance(error, kind))
        named = f"of that name at revision {revision}" if revision else "of that name"
        raise RunError(
            f"There is no folder {name}, and the Hugging Face hub gives no model {named} "
            f"({next(kinds, type(error).__name__)}): correct the name, or go online."
        ) from error
    return Path(folder)
