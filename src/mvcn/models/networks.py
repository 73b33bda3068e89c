"""The networks that a classifier can have, by name."""

from collections.abc import Callable

from torch import nn

from mvcn.models import mvcn
from mvcn.models.configuration import MvcnConfig

NETWORKS: dict[str, Callable[[MvcnConfig], nn.Module]] = {"mvcn": mvcn.build}
"""Name -> what builds it. A network maps `Tokens` to an `MvcnOutput`."""
