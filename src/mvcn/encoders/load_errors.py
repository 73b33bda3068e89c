"""Say in one sentence why an encoder, a tokenizer or an image processor cannot be loaded."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from mvcn.encoders.families import IMAGE_FAMILIES, TEXT_FAMILIES
from mvcn.errors import ConfigError, needs_extra
from mvcn.files import require_allowed

PACKAGED_CHOICE: Mapping[str, str] = {
    "text encoder": "minilm-l6",
    "tokenizer": "minilm-l6",
    "image encoder": "efficientnet-lite0",
    "image processor": "efficientnet-lite0",
}
"""What is to be loaded -> the packaged name that can be given for it."""
BELONGING: Mapping[str, tuple[str, ...]] = {
    "tokenizer": ("tokenizer*", "vocab*", "*.model"),
    "image processor": ("preprocessor_config.json", "processor_config.json"),
}
"""What is saved next to a model -> patterns of its files."""


def not_loadable(kind: str, source: str | Path) -> ConfigError:
    """Return the error for a name by which nothing is found, or a folder that lacks files.

    Args:
        kind: What is to be loaded, for instance ``text encoder``.
        source: The name or folder.

    Raises:
        ConfigError: The folder, or a file in it, may not be read.
    """
    _require_allowed(kind, Path(source))
    start = f"No {kind} can be loaded from '{source}'"
    lacking = _what_lacks(kind, Path(source))
    if lacking:
        return ConfigError(f"{start}, {lacking}.")
    packaged = PACKAGED_CHOICE.get(kind)
    choice = "" if packaged is None else f"the packaged name {packaged}, "
    return ConfigError(
        f"{start}: use {choice}a folder written by save_pretrained, or the name of a model on the "
        "Hugging Face hub."
    )


def damaged(kind: str, source: str | Path, why: str) -> ConfigError:
    """Return the error for files that are there and cannot be used.

    Args:
        kind: What is to be loaded, for instance ``text encoder``.
        source: The name or folder.
        why: In brackets, after what cannot be loaded.

    Raises:
        ConfigError: The folder, or a file in it, may not be read.
    """
    _require_allowed(kind, Path(source))
    return ConfigError(
        f"The {kind} from '{source}' cannot be loaded ({why}): download it again, or choose "
        "another."
    )


def require_extra(error: Exception, what: str) -> None:
    """Raise a ConfigError if an error of Hugging Face is for want of an extra of the package."""
    for family in (*TEXT_FAMILIES.values(), *IMAGE_FAMILIES.values()):
        if family.extra and f"requires the {family.extra} library" in str(error):
            raise needs_extra(what, family.extra) from error


def require_all(missing: Iterable[str], kind: str, source: str) -> None:
    """Raise a ConfigError where a file lacks weights, whose names are given."""
    if weights := sorted(missing):
        raise damaged(kind, source, f"{len(weights)} weights such as {weights[0]} are missing")


def _what_lacks(kind: str, folder: Path) -> str:
    """Return what the folder of a model lacks, as the end of a sentence; empty if unknown."""
    if not (folder / "config.json").is_file():
        return ""
    if patterns := BELONGING.get(kind):
        has_any = any(next(folder.glob(pattern), None) for pattern in patterns)
        return "" if has_any else f"which has none: save the encoder's own {kind} there as well"
    pickled = next(iter(sorted(folder.glob("pytorch_model*.bin"))), None)
    if pickled is None or next(folder.glob("*.safetensors"), None):
        return ""
    return (
        f"since {pickled.name} is a pickle, which can run code: save the model again with "
        "save_pretrained, which writes safetensors"
    )


def _require_allowed(kind: str, folder: Path) -> None:
    """Raise a ConfigError if a folder or a file in it exists but may not be read."""
    for path in (folder, *sorted(folder.glob("*"))):
        require_allowed(path, ConfigError, f"The {kind}")
