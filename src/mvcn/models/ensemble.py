"""Members of an ensemble in one model: networks and trained encoder parts of each."""

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mvcn.errors import ConfigError, PluginError
from mvcn.models.configuration import MvcnConfig
from mvcn.models.linear_stack import LinearStack
from mvcn.models.network import MvcnOutput, Network, Tokens
from mvcn.models.registry import System

Encoder = TypeVar("Encoder", bound=nn.Module)


class Ensemble(Network):
    r"""The mean of the probabilities of several networks, each of which reads its own tokens.

    .. math::
        p(k) = \frac{1}{M} \sum_m \mathrm{softmax}(l^{(m)} + g)_k

    The logits are the logarithms of p; g are those of linear models, which all members share. The
    fused feature is the concatenation of those of the members, attention weights are those of all
    heads of all members, and token weights are means.

    Args:
        members: Networks of one kind, M of them.
        own_fields: Fields of `Tokens` in which each has its own range of the last axis; all
            members read the same others.
        linear: Linear models; by default g is 0.

    Source:
        Not in Wei et al., ACL 2023; ours. Averaging: Breiman, Machine Learning 1996 (bagging);
        Lakshminarayanan et al., NeurIPS 2017 (deep ensembles).
    """

    def __init__(
        self,
        members: Sequence[Network],
        own_fields: Sequence[str],
        linear: LinearStack | None = None,
    ) -> None:
        super().__init__()
        self.feature_size = sum(member.feature_size for member in members)
        self.members = nn.ModuleList(members)
        self.own_fields = own_fields
        self.linear = linear
        self.alone: int | None = None

    def forward(self, tokens: Tokens, output_attentions: bool = False) -> MvcnOutput:
        """Classify posts; `tokens` are those of all members, as `join_tokens` returns them."""
        parts = split_tokens(tokens, len(self.members), self.own_fields)
        outputs: list[MvcnOutput] = [
            member(part, output_attentions)
            for member, part in zip(self.members, parts, strict=True)
        ]
        logs = _stacked(outputs, "logits").log_softmax(-1)
        if self.linear is not None:
            logs = (logs + self.linear(tokens)).log_softmax(-1)
        heard = outputs if self.alone is None else [outputs[self.alone]]
        logits = (
            logs.logsumexp(0) - math.log(len(outputs)) if self.alone is None else logs[self.alone]
        )
        feature = torch.cat(list(_stacked(outputs, "fused_feature")), -1)
        weights = _attention(heard) if output_attentions else {}
        return MvcnOutput(logits, feature, disagreement=disagreement(logs.exp()), **weights)


@contextmanager
def answering_alone(network: Network, member: int | None) -> Iterator[None]:
    """Let one member of an ensemble give probabilities and attention; None for all together.

    Fused features stay those of all members.
    """
    if not isinstance(network, Ensemble):
        yield
        return
    network.alone = member
    try:
        yield
    finally:
        network.alone = None


def build_network(about: System, config: MvcnConfig) -> Network:
    """Build the network of a system, or the ensemble of as many as the configuration has members.

    Args:
        about: The system.
        config: Its fields are the required arguments of the network.
    """
    if config.members == 1:
        return _build_one(about, config)
    members = [_build_one(about, config) for _ in range(config.members)]
    return Ensemble(members, about.own_fields(config), _build_linear(config))


def _build_linear(config: MvcnConfig) -> LinearStack | None:
    if config.linear_inputs is None:
        return None
    widths = {name: getattr(config, f"{name}_width") for name in config.linear_inputs}
    return LinearStack(config.ngram_buckets, widths, config.num_labels)


def _build_one(about: System, config: MvcnConfig) -> Network:
    network = about.network
    parameters = inspect.signature(network).parameters.values()
    required = [one.name for one in parameters if one.default is one.empty]
    if unknown := [name for name in required if not hasattr(config, name)]:
        raise ConfigError(
            f"The network {network.__name__} takes '{unknown[0]}', which MvcnConfig does not "
            "have, unlike text_width, image_width or num_classes: give it a default value."
        )
    values = {name: getattr(config, name) for name in required}
    built = network(**values, **(config.options or {}))
    if about.plugin is not None:
        built.register_forward_hook(partial(_check_output, config.num_labels))
    return built


def _check_output(num_classes: int, network: nn.Module, _: Any, output: Any) -> None:
    """Raise a PluginError if the network of a plug-in returns something else than logits."""
    name, remedy = type(network).__name__, "as in MvcnOutput(logits, feature, logits)"
    if not isinstance(output, MvcnOutput):
        kind = type(output).__name__
        raise PluginError(
            f"The network {name} returned a {kind}: have it return an MvcnOutput, {remedy}."
        )
    for field in ("logits", "fused_logits"):
        found = getattr(output, field)
        if not isinstance(found, Tensor) or found.ndim != 2 or found.shape[1] != num_classes:  # noqa: PLR2004
            kind = f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else repr(found)
            raise PluginError(
                f"The network {name} returned {field} {kind}: have it return one logit for each "
                f"post and class, of which there are {num_classes}, {remedy}."
            )


def disagreement(
    probabilities: Float[Tensor, "member batch classes"],
) -> Float[Tensor, " batch"]:
    """Return the standard deviation of the predicted class's probability over members, 0 to 0.5."""
    predicted = probabilities.mean(0).argmax(-1)
    of_predicted = probabilities.gather(-1, predicted.expand(len(probabilities), -1).unsqueeze(-1))
    return of_predicted.squeeze(-1).std(0, correction=0)


def _attention(outputs: Sequence[MvcnOutput]) -> dict[str, Any]:
    """Return attention weights of all heads, and mean token weights, if the networks have them."""
    found: dict[str, Any] = {}
    if outputs[0].fusion_attentions is not None:
        units = zip(*(output.fusion_attentions for output in outputs), strict=True)
        found["fusion_attentions"] = tuple(torch.cat(unit, 1) for unit in units)
    if outputs[0].token_weights is not None:
        found["token_weights"] = _stacked(outputs, "token_weights").mean(0)
    return found


def _stacked(outputs: Sequence[MvcnOutput], name: str) -> Float[Tensor, "member batch *rest"]:
    return torch.stack([output[name] for output in outputs])


def join_tokens(parts: Sequence[Tokens], own_fields: Sequence[str]) -> Tokens:
    """Return the tokens of all members as one, each with its own range of the last axis.

    Args:
        parts: Tokens of the same posts for each member.
        own_fields: Fields that are not the same for all.
    """
    if len(parts) == 1:
        return parts[0]
    return parts[0]._replace(
        **{name: torch.cat([getattr(part, name) for part in parts], -1) for name in own_fields}
    )


def split_tokens(tokens: Tokens, members: int, own_fields: Sequence[str]) -> list[Tokens]:
    """Return the tokens of each member; the inverse of `join_tokens`."""
    own = {
        name: torch.tensor_split(getattr(tokens, name), members, -1)
        for name in (own_fields if members > 1 else ())
    }
    return [
        tokens._replace(**{name: values[number] for name, values in own.items()})
        for number in range(members)
    ]


def copies_sharing(
    encoder: Encoder | None, frozen: Sequence[nn.Module], count: int
) -> list[Encoder]:
    """Return copies of an encoder that hold its frozen modules themselves, not copies of them."""
    if encoder is None:
        return []
    shared = {id(module): module for module in frozen}
    return [deepcopy(encoder, dict(shared)) for _ in range(count)]


def drop_shared(
    model: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Mapping[str, Any]
) -> None:
    """Remove weights that are in a state dict by more than one name: a hook of the model.

    The first name stays. Weights are shared where a module is a part of several encoders.
    """
    seen: set[int] = set()
    for names in (model.named_parameters, model.named_buffers):
        for name, value in names(prefix[:-1], remove_duplicate=False):
            if id(value) in seen:
                state.pop(name, None)
            seen.add(id(value))
