"""Tensors in files of safetensors, which others may read as the umask allows."""

from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from mvcn.files import set_usual_permissions

PATTERN = "*.safetensors"


def save_tensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors by name."""
    save_file(dict(tensors), path, metadata=None if metadata is None else dict(metadata))
    set_usual_permissions(path)


def share_weights(folder: Path) -> None:
    """Give the weights that ``save_pretrained`` has written the permissions of other files."""
    set_usual_permissions(*folder.glob(PATTERN))
