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
    RepositoryNotFoundError: "it has no such model that you may read",
    RevisionNotFoundError: "it has no such revision of the model",
    LocalEntryNotFoundError: (
        "it cannot be reached, and the model is not in the cache of this machine"
    ),
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
            f"'{name}' is neither a folder nor a valid name on the Hugging Face hub: check the "
            "path."
        ) from error
    except Exception as error:  # the hub's client lets errors of several libraries through
        if isinstance(error, OSError) and error.errno is not None and error.filename is not None:
            raise RunError(
                f"The model '{name}' cannot be stored in the cache ({reason_of(error)}: "
                f"{error.filename}): set HF_HOME to a folder that you can write to."
            ) from error
        kinds = (why for kind, why in REASONS.items() if isinstance(error, kind))
        named = f"of that name at revision {revision}" if revision else "of that name"
        raise RunError(
            f"There is no folder {name}, and the Hugging Face hub has no model {named} "
            f"({next(kinds, type(error).__name__)}): check the name and the connection."
        ) from error
    return Path(folder)
