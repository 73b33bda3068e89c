"""Runs with encoders of other kinds than the packaged ones, from the training to the prediction."""

from dataclasses import replace

import numpy as np
import pytest
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from mvcn.inference.classifier import Classifier
from mvcn.training.run import train
from tests import tiny_encoders


@pytest.fixture(scope="module")
def decoder(tmp_path_factory):
    """Folder of a tiny GPT-2, whose tokenizer reads bytes, adds no marks and has no padding."""
    folder = tmp_path_factory.mktemp("gpt2")
    tiny_encoders.save(hf.GPT2Config(**tiny_encoders.DECODER_OF_BYTES), folder)
    pieces = [*pre_tokenizers.ByteLevel.alphabet(), "<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE({piece: i for i, piece in enumerate(sorted(pieces))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **end).save_pretrained(folder)
    return folder


def rows(classifier, posts):
    return np.array([[*one.probabilities.values()] for one in classifier.predict(posts)])


def test_a_decoder_is_trained_saved_exported_and_asked(
    decoder, tiny_config, generated_posts, tmp_path
):
    config = tiny_config(
        model={"text_encoder": str(decoder), "max_tokens": "auto"},
        training={"epochs": 1, "export": True},
    )
    run = train(config, tmp_path / "run")
    without = replace(generated_posts[0], text="")
    posts = [without, *generated_posts[:3], replace(generated_posts[4], text="\U0001f600 \u00e9")]
    by_torch, by_graphs = (
        Classifier.from_pretrained(run.folder, name) for name in ("torch", "onnx")
    )
    expected = rows(by_torch, posts)
    np.testing.assert_allclose(rows(by_graphs, posts), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(rows(by_graphs, [without]), expected[:1], rtol=0, atol=1e-5)
    assert expected.std(0).min() > 1e-4
