"""Further terms of the objective, from plug-ins."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from torch import Tensor

from mvcn.errors import ConfigError, PluginError
from mvcn.plugins import available, find_plugin

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
        PluginError: It has the name of another, cannot be imported, or is not a function.
    """
    plugin = find_plugin("loss", name, OWN_NAMES)
    if plugin is None:
        close = get_close_matches(name, [one.name for one in available("loss")], n=1)
        hint = (
            f"did you mean '{close[0]}'?"
            if close
            else "install its package, or add --plugin MODULE."
        )
        raise ConfigError(
            f"Setting 'objective.losses' names '{name}', but no plug-in has a loss of that name: "
            f"{hint}"
        )
    loss = plugin.load()
    if not callable(loss):
        raise PluginError(
            f"The loss '{name}' of {plugin.origin} is {loss!r}, which cannot be called: make it a "
            "function of a batch."
        )

    def checked(batch: "Batch") -> Tensor:
        value = loss(batch)
        if not isinstance(value, Tensor) or value.ndim:
            kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else value
            raise ConfigError(
                f"The loss '{name}' of {plugin.origin} returned {kind}: have it return a tensor "
                "with one number, such as batch.mean(losses) of one loss for each post."
            )
        return value

    return checked
