"""Prediction with PyTorch."""

import numpy as np
import torch
from jaxtyping import Float

from mvcn.inputs.attributes import AttributeModel
from mvcn.inputs.batches import EncodedPosts, PostEncoder
from mvcn.inputs.processor import MvcnProcessor
from mvcn.models.classification import MvcnForClassification
from mvcn.models.configuration import MvcnConfig
from mvcn.models.network import probabilities
from mvcn.runtime.batches import PostArrays

BATCH_SIZE = 64


class TorchModel:
    """A model for prediction, with the interface of `mvcn.runtime.graphs.GraphModel`.

    Args:
        model: The model.
        processor: Its own.
        attribute_model: Finds attributes of images, where the model reads them.
    """

    def __init__(
        self,
        model: MvcnForClassification,
        processor: MvcnProcessor,
        attribute_model: AttributeModel | None,
    ) -> None:
        self.model = model.eval()
        self._parts = processor, attribute_model

    @property
    def config(self) -> MvcnConfig:
        """Its configuration."""
        config: MvcnConfig = self.model.config
        return config

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes in the order of the probabilities."""
        names: tuple[str, ...] = self.model.class_names
        return names

    def encoder(self, *, keeps: bool = False) -> PostEncoder:
        """Return what encodes posts.

        Args:
            keeps: Keep features of frozen encoders, and attributes, in caches on disk.
        """
        if keeps:
            return PostEncoder.for_model(self.model, *self._parts)
        return PostEncoder.for_prediction(self.model.config, *self._parts)

    @torch.inference_mode()
    def predict(
        self, posts: PostArrays
    ) -> tuple[Float[np.ndarray, "posts classes"], Float[np.ndarray, " posts"]]:
        """Return class probabilities, and the disagreement of members; NaN without members."""
        assert isinstance(posts, EncodedPosts)  # of this model's encoder
        config = self.model.config
        rows = np.empty((len(posts), config.num_labels))
        disagreement = np.full(len(posts), np.nan)
        for chosen in posts.batches(BATCH_SIZE):
            inputs = posts.inputs(chosen)
            output = self.model(**{n: value.to(self.model.device) for n, value in inputs.items()})
            found = probabilities(output["logits"], config.temperature, config.logit_offsets)
            rows[chosen] = found.cpu().numpy()
            if config.members > 1:
                disagreement[chosen] = output["disagreement"].float().cpu().numpy()
        return rows, disagreement
