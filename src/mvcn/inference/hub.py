"""Find a model's files: in a folder, or in the cache of the Hugging Face hub."""

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mvcn.errors import RunError, reason_of
from mvcn.files import require_allowed

WANTED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.onnx", "*.yaml"]
"""No pickles and no code: neither is ever read."""
UNWANTED = ["checkpoints/*"]
REASONS: dict[type[Exception], str] = {
    RepositoryNotFoundError: "it has none that you may read",
    RevisionNotFoundError: "it has no such revision of it",
    LocalEntryNotFoundError: "it cannot be reached, and its cache on this machine has none",
}


def find_model(source: str | Path, revision: str | None = None) -> Path:
    """Return the folder of a model, after a download where `source` is no folder but a hub name.

    The hub is asked only for a string that is no path of anything here; a `Path` is always a path.

    Args:
        source: A folder, or a name on the Hugging Face hub such as ``someone/posts``.
        revision: Branch, tag or commit on the hub; by default its main branch.

    Raises:
        RunError: Neither a folder nor a model that the hub gives, or one that may not be read.
    """
    folder = Path(source)
    require_allowed(folder, RunError, "The model")
    return folder if isinstance(source, Path) or folder.exists() else _download(source, revision)


def _download(name: str, revision: str | None) -> Path:
    try:
        folder = snapshot_download(
            name, revision=revision, allow_patterns=WANTED, ignore_patterns=UNWANTED
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
