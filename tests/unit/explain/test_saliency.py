"""What matters for a verdict, against tokens that are really taken away and finite differences."""

import pytest
import torch

from mvcn.errors import ConfigError
from mvcn.explain.saliency import METHODS, class_probabilities, image_saliency, word_saliency
from mvcn.inputs.batches import PostEncoder, as_tensors
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.training.run_folder import Run


@pytest.fixture(scope="module")
def trained(tiny_run):
    run = Run(tiny_run)
    return run.model, run.processor


@pytest.fixture
def inputs(trained, generated_posts):
    return PostEncoder.for_model(*trained).encode(generated_posts[:3]).inputs([1])


def log_probability(logits, predicted):
    return logits.double().log_softmax(-1)[0, predicted].item()


def test_occlusion_is_what_the_model_says_without_the_token(trained, inputs):
    model, _ = trained
    with torch.no_grad():
        whole = model(**inputs).logits / model.config.temperature
    predicted = int(whole.argmax())
    found = image_saliency(model, inputs, "occlusion")
    features = inputs["image_features"]
    for patch in range(features.shape[1]):
        rest = torch.cat([features[:, :patch], features[:, patch + 1 :]], 1)
        with torch.no_grad():
            without = model(**{**inputs, "image_features": rest}).logits / model.config.temperature
        expected = log_probability(whole, predicted) - log_probability(without, predicted)
        assert found[patch].item() == pytest.approx(expected, abs=1e-6)


def test_attention_is_a_share_of_the_image(trained, inputs):
    found = image_saliency(trained[0], inputs, "attention")
    assert (found >= 0).all()
    assert found.sum().item() == pytest.approx(1, abs=1e-5)


def test_gradients_sum_to_the_slope_of_growing_tokens(trained, inputs):
    model, _ = trained
    found = image_saliency(model, inputs, "gradient").double().sum().item()
    with torch.no_grad():
        tokens = model.encode(**inputs)
        predicted = int(model.network(tokens).logits.argmax())
        double = model.network.double()
        tokens = tokens._replace(text=tokens.text.double())
        at = [
            log_probability(
                double(tokens._replace(image=tokens.image.double() * scale)).logits, predicted
            )
            for scale in (1 + 1e-5, 1 - 1e-5)
        ]
        model.network.float()
    assert found == pytest.approx((at[0] - at[1]) / 2e-5, abs=1e-5, rel=1e-3)


def test_words_are_worth_what_the_model_loses_without_their_pieces(
    trained, inputs, generated_posts
):
    model, processor = trained
    words = [pieces for _, pieces in processor.words(generated_posts[1].text)]
    found = word_saliency(model, inputs, words)
    with torch.no_grad():
        whole = model(**inputs).logits
    predicted = int(whole.argmax())
    (text,) = inputs["input_ids"].tolist()
    for number, pieces in enumerate(words):
        rest = [piece for place, piece in enumerate(text) if place not in pieces]
        with torch.no_grad():
            without = model(**{**inputs, **as_tensors(processor.pad([rest]))}).logits
        expected = log_probability(whole, predicted) - log_probability(without, predicted)
        assert found[number].item() == pytest.approx(expected, abs=1e-5)


def test_states_of_a_text_do_not_stand_for_the_text_without_a_word(tiny_settings, generated_posts):
    config = ModelConfig(**tiny_settings, frozen_text_layers=1)
    model = build_model(config, ("negative", "neutral", "positive")).eval()
    processor = build_processor(config)
    words = [pieces for _, pieces in processor.words(generated_posts[0].text)]
    inputs = PostEncoder.for_model(model, processor).encode(generated_posts[:1]).inputs([0])
    states = model.frozen_text_layers.states(inputs["input_ids"], inputs["attention_mask"])
    found = word_saliency(model, {**inputs, "text_states": states}, words)
    assert torch.equal(found, word_saliency(model, inputs, words))


def test_words_are_the_text_and_their_pieces_lie_where_it_is_tokenized(trained, generated_posts):
    _, processor = trained
    for post in generated_posts[:5]:
        (ids,) = processor.tokenize([post.text])
        words = processor.words(post.text)
        joined = "".join(word for word, _ in words)
        assert joined == post.text.replace(" ", "")
        positions = [place for _, pieces in words for place in pieces]
        assert positions == list(range(1, len(ids) - 1))


def test_leaving_nothing_out_changes_nothing(trained, inputs):
    model, _ = trained
    with torch.no_grad():
        expected = model(**inputs).logits.double() / model.config.temperature
    everything = torch.ones(70, inputs["image_features"].shape[1], dtype=torch.bool)
    rows = class_probabilities(model, inputs, everything)
    torch.testing.assert_close(rows, expected.softmax(-1).expand(70, -1), rtol=0, atol=1e-6)


def test_networks_without_attention_are_explained_by_the_others(tiny_settings, generated_posts):
    config = ModelConfig(network="concat2", **tiny_settings)
    model = build_model(config, ("negative", "neutral", "positive")).eval()
    inputs = (
        PostEncoder.for_model(model, build_processor(config))
        .encode(generated_posts[:1])
        .inputs([0])
    )
    with pytest.raises(ConfigError, match="use --method gradient or occlusion"):
        image_saliency(model, inputs, "attention")
    for method in METHODS[1:]:
        assert image_saliency(model, inputs, method).isfinite().all()


def test_words_found_in_an_image_are_found_anew_without_a_part_of_it(
    tiny_settings, generated_posts
):
    settings = {**tiny_settings, "image_encoder": "efficientnet-lite0"}
    config = ModelConfig(network="multisentinet", **settings)
    torch.manual_seed(0)
    model = build_model(config, ("negative", "neutral", "positive")).eval()
    inputs = (
        PostEncoder.for_model(model, build_processor(config))
        .encode(generated_posts[:1])
        .inputs([0])
    )
    found = image_saliency(model, inputs, "occlusion")
    assert found.abs().max() > 0
    with pytest.raises(ConfigError, match="use --method occlusion"):
        image_saliency(model, inputs, "gradient")
