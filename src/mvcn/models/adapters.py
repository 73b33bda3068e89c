"""Low-rank adapters (LoRA) of encoders: added for a training, merged into the weights at its end.

Source:
    Hu et al., ICLR 2022, "LoRA: Low-Rank Adaptation of Large Language Models", by the library
    ``peft``. Deviation: every linear layer has one, as in Dettmers et al., NeurIPS 2023, "QLoRA",
    section 4, in place of those of queries and values alone.
"""

from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel

from mvcn.encoders.families import uses_weight
from mvcn.errors import ConfigError, needs_extra
from mvcn.model_config import AdapterConfig
from mvcn.models.pretrained import MvcnPreTrainedModel

ADAPTER = "default"
WEIGHT = ".lora_"
"""Part of the names of an adapter's own weights."""


def add_adapters(encoder: PreTrainedModel, settings: AdapterConfig, kind: str) -> None:
    """Give each linear layer that an encoder's tokens depend on an adapter, and freeze all weights.

    The outputs are the same as before, since one factor of each adapter is 0.

    Args:
        encoder: It is changed.
        settings: A rank of 1 or more, scale and dropout.
        kind: What it is called in errors.

    Raises:
        ConfigError: The library peft is not installed, or there is no linear layer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise needs_extra(f"model.{kind}_adapter", "lora") from error
    targets = [
        name
        for name, one in encoder.named_modules()
        if _can_have_one(one) and uses_weight(encoder.config, f"{name}.weight")
    ]
    if not targets:
        raise ConfigError(
            f"The {kind} encoder, of type '{encoder.config.model_type}', has no linear layer for "
            f"an adapter: set model.{kind}_adapter.rank to 0."
        )
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        fan_in_fan_out=not any(isinstance(one, nn.Linear) for one in encoder.modules()),
    )
    inject_adapter_in_model(lora, encoder, ADAPTER)
    for name, weight in encoder.named_parameters():
        weight.requires_grad_(WEIGHT in name)


def merge_adapters(model: MvcnPreTrainedModel) -> None:
    """Add all adapters to the weights that they belong to, which are trained weights from then on.

    The names of all weights are again those of a model without adapters.
    """
    if not has_adapters(model):
        return
    from peft.tuners.lora import LoraLayer

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, LoraLayer):
                child.merge(adapter_names=[ADAPTER])
                merged: Any = child.base_layer
                merged.weight.requires_grad_(True)
                setattr(parent, name, merged)
    model.freeze_parts()


def has_adapters(model: nn.Module) -> bool:
    """Return whether a model has adapters that are not merged."""
    return any(WEIGHT in name for name, _ in model.named_parameters())


def without_frozen(model: nn.Module) -> dict[str, Tensor]:
    """Return the weights and buffers of a model with adapters, without what they leave as it was.

    These weights come from the published encoder again, so that a checkpoint need not hold them.
    """
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    state: dict[str, Any] = model.state_dict()
    return {name: one for name, one in state.items() if name not in frozen}


def _can_have_one(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # that of GPT-2
