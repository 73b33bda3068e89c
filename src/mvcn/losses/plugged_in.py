"""Further terms of the objective, from plug-ins."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from mvcn.errors import ConfigError
from mvcn.plugins import find_plugin

if TYPE_CHECKING:
    from mvcn.losses.objective import Batch

OWN_NAMES = (
    *("cross_entropy", "congruity", "unimodal_cross_entropy"),
    *("label_contrast", "data_contrast", "penalty"),
    *("loss", "grad_norm", "learning_rate", "epoch", "step", "member"),
)
"""Terms of this package, and other columns of a training's history."""


def plugged_in_loss(name: str) -> Callable[["Batch"], Tensor]:
    """Return a plug-in's loss, whose value is checked at each call.

    It is a function of a `Batch` that returns one number, as the terms of this package are:
    ``batch.mean`` makes one of the losses of all posts.

    Raises:
        ConfigError: There is no such loss, or, in a call, it returns something else.
        PluginError: It has the name of another, or cannot be imported.
    """
    plugin = find_plugin("loss", name, OWN_NAMES)
    if plugin is None:
        raise ConfigError(
            f"Setting 'objective.losses' names '{name}', but no plug-in has a loss of that name: "
            "install its package, or add --plugin MODULE."
        )
    loss = plugin.load()

    def checked(batch: "Batch") -> Tensor:
        value = loss(batch)
        if not isinstance(value, Tensor) or value.ndim:
            kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
            raise ConfigError(
                f"The loss '{name}' of {plugin.origin} returned {kind}: have it return one number, "
                "such as batch.mean(losses) of one loss for each post."
            )
        return value

    return checked
