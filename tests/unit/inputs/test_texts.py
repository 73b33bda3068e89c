"""States of texts below the first trained layer stand for the texts."""

import pytest
import torch

from mvcn.inputs import texts
from mvcn.inputs.batches import PostEncoder
from mvcn.inputs.processor import build_processor
from mvcn.inputs.texts import frozen_texts
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.runtime.images import ImagePixels


@pytest.fixture(scope="module")
def build(tiny_settings):
    """Return a function from what is frozen to a model and its processor."""

    def build(**frozen):
        torch.manual_seed(0)
        config = ModelConfig(**tiny_settings, **frozen)
        return build_model(config, ("bad", "good")), build_processor(config)

    return build


@pytest.mark.parametrize(
    "frozen",
    [
        {"frozen_text_layers": 1},
        {"frozen_text_layers": 2},
        {"frozen_text_layers": "all"},
        {"frozen_text_layers": "all", "lower_text_layers": 1},
    ],
)
def test_a_batch_with_states_gives_the_same_scores(build, frozen, generated_posts):
    (model, processor), posts = build(**frozen), generated_posts[:6]
    encoder = PostEncoder(processor, ImagePixels(processor))
    encoded = encoder.encode(posts)
    rows = [encoded[index] for index in (4, 0, 2)]
    found = frozen_texts(model, processor, encoded.token_ids)
    without = encoded.collate(rows)
    encoder.texts = found
    with_states = encoded.collate(rows)
    assert set(with_states) - set(without) == {"text_states"}
    labels = ("labels", "text_labels", "image_labels")
    model.eval()
    logits = [
        model(**{name: value for name, value in batch.items() if name not in labels}).logits
        for batch in (with_states, without)
    ]
    torch.testing.assert_close(*logits, rtol=0, atol=1e-5)


def test_each_text_is_run_once_with_others_of_like_length(build, monkeypatch):
    model, processor = build(frozen_text_layers=1)
    batches, states = [], model.frozen_text_layers.states
    monkeypatch.setattr(texts, "TEXTS_AT_ONCE", 2)
    monkeypatch.setattr(
        model.frozen_text_layers, "states", lambda **batch: batches.append(batch) or states(**batch)
    )
    found = frozen_texts(model, processor, [[5] * 9, [5, 6], [7] * 8, [5, 6], [6, 5]])
    assert [batch["attention_mask"].sum(1).tolist() for batch in batches] == [[9, 8], [2, 2]]
    padded = found.pad([[5] * 9, [5, 6]])
    assert padded.shape[:2] == (2, 9)
    assert (padded[1, 2:] == 0).all()
    assert (padded[0].abs().sum(-1) > 0).all()


@pytest.mark.parametrize(("layers", "most_bytes"), [(0, 2**30), (1, 100)])
def test_none_are_held_without_frozen_layers_or_beyond_the_memory(
    build, layers, most_bytes, monkeypatch
):
    monkeypatch.setattr(texts, "MOST_BYTES", most_bytes)
    assert frozen_texts(*build(frozen_text_layers=layers), [[5, 6]]) is None
