"""Words for images from a classifier or a captioner, in training and in what is left of it."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import transformers

import mvcn.inference.pipeline  # noqa: F401 (registers the task)
from mvcn.data.table import read_table
from mvcn.errors import ConfigError
from mvcn.explain.run import NUMBERS, TrainedRun, explain_posts
from mvcn.inference.classifier import Classifier
from mvcn.inputs.attributes import AttributeCache, AttributeModel
from mvcn.training.run import train


@pytest.fixture(scope="module")
def posts(posts_table):
    return list(read_table(posts_table / "dev" / "posts.csv").posts)[:6]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory, tiny_text_encoder, tiny_image_encoder):
    """Folder of a random model that writes a text for an image."""
    folder = tmp_path_factory.mktemp("captioner")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_text_encoder)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    decoder = transformers.BertConfig(
        vocab_size=len(tokenizer),
        intermediate_size=48,
        is_decoder=True,
        add_cross_attention=True,
        **sizes,
    )
    torch.manual_seed(3)
    model = transformers.VisionEncoderDecoderModel(
        encoder=transformers.ViTModel.from_pretrained(tiny_image_encoder),
        decoder=transformers.BertLMHeadModel(decoder),
    )
    model.config.decoder_start_token_id = tokenizer.cls_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.decoder_start_token_id = tokenizer.cls_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    shutil.copy(tiny_image_encoder / "preprocessor_config.json", folder)
    return folder


def test_a_classifier_names_what_it_finds_likeliest(tiny_image_encoder, posts):
    attribute_model = AttributeModel.load(tiny_image_encoder)
    described = attribute_model.add_attributes(posts)
    assert [replace(post, attributes=()) for post in described] == posts
    pixels = attribute_model.image_processor(
        images=[transformers.image_utils.load_image(str(posts[0].image))], return_tensors="pt"
    )
    with torch.no_grad():
        order = attribute_model.model(**pixels).logits[0].argsort(descending=True)
    assert described[0].attributes == tuple(f"thing {index}" for index in order[:5])


def test_a_captioner_gives_the_words_of_its_caption(captioner, posts):
    attribute_model = AttributeModel.load(captioner)
    described = attribute_model.add_attributes(posts)
    assert all(post.attributes for post in described)
    assert all(" " not in word for post in described for word in post.attributes)
    assert attribute_model.add_attributes(posts) == described


def test_words_of_the_data_stay_and_without_an_image_there_are_none(tiny_image_encoder, posts):
    mine = [replace(posts[0], attributes=("dog",)), replace(posts[1], image=None), posts[2]]
    described = AttributeModel.load(tiny_image_encoder).add_attributes(mine)
    assert described[:2] == mine[:2]
    assert len(described[2].attributes) == 5


def test_an_image_is_described_once(tiny_image_encoder, posts, tmp_path, monkeypatch):
    attribute_model = AttributeModel.load(tiny_image_encoder)
    first = attribute_model.add_attributes(posts, AttributeCache(tmp_path))
    monkeypatch.setattr(
        attribute_model, "_attributes", lambda images: pytest.fail("described again")
    )
    assert attribute_model.add_attributes(posts, AttributeCache(tmp_path)) == first


def test_words_are_held_in_memory_where_they_cannot_be_kept(
    tiny_image_encoder, posts, tmp_path, caplog
):
    attribute_model = AttributeModel.load(tiny_image_encoder)
    (tmp_path / "file").touch()
    words = AttributeCache(tmp_path / "file")
    assert attribute_model.add_attributes(posts, words) == attribute_model.add_attributes(posts)
    assert attribute_model.add_attributes(posts, words) == attribute_model.add_attributes(posts)
    (message,) = caplog.messages
    assert "set MVCN_CACHE to a folder that you can write to" in message
    for content in ("{", "[1]", '{"a": 3}'):
        (tmp_path / "half.json").write_text(content)
        assert "a" not in AttributeCache(tmp_path)


def test_a_run_keeps_its_attribute_model(tiny_config, captioner, posts, tmp_path):
    source = shutil.copytree(captioner, tmp_path / "describer")
    changes = {"network": "concat3", "attribute_model": str(source)}
    config = tiny_config(model=changes, objective={"congruity_weight": 0.0}, training={"epochs": 1})
    report = train(config, tmp_path / "run").metrics
    shutil.rmtree(source)  # nothing but the run's own folder is needed
    run = TrainedRun(tmp_path / "run")
    explain_posts(run, run.encode(posts[:2]), tmp_path, "occlusion", None)
    explained = json.loads((tmp_path / NUMBERS).read_text("utf-8"))["posts"]
    bad = replace(posts[0], id="bad", image=tmp_path / "nowhere.png")
    encoded = run.encode([posts[1], bad], "blank")
    assert (list(encoded.bad_images), encoded.posts[1].image) == (["bad"], None)
    assert encoded.posts[0].attributes
    predicted = Classifier.from_pretrained(tmp_path / "run").predict(posts[:2])
    for one, prediction in zip(explained, predicted, strict=True):
        assert one["probabilities"] == pytest.approx(dict(prediction.probabilities), abs=1e-5)
    classifier = Classifier.from_pretrained(tmp_path / "run")
    dev = list(read_table(config.data.dev).posts)
    evaluated = classifier.evaluate(dev)
    assert evaluated.evaluation.accuracy == report["dev"]["accuracy"]
    before = [p.probabilities for p in classifier.predict(posts)]
    assert before != [
        p.probabilities for p in Classifier(classifier.model, classifier.processor).predict(posts)
    ]
    ask = transformers.pipeline("image-text-classification", model=str(tmp_path / "run"))
    ask.save_pretrained(tmp_path / "copy")
    for one in (ask, ask.__class__(model=ask.model, processor=ask.processor)):
        (answer,) = one([{"text": posts[0].text, "image": posts[0].image}])
        scores = {row["label"]: row["score"] for row in answer}
        assert scores == pytest.approx(dict(before[0]), abs=1e-5)
    (again,) = Classifier.from_pretrained(tmp_path / "copy").predict(posts[:1])
    assert dict(again.probabilities) == pytest.approx(dict(before[0]), abs=1e-5)


def test_a_model_that_reads_no_attributes_takes_no_attribute_model(
    tiny_config, tiny_image_encoder, tmp_path
):
    config = tiny_config(model={"attribute_model": str(tiny_image_encoder)})
    with pytest.raises(ConfigError, match="'mvcn' reads no image attributes"):
        train(config, tmp_path / "run")


def test_an_attribute_model_that_is_nowhere_is_refused_without_talk_of_encoders(tmp_path):
    with pytest.raises(ConfigError, match="No attribute model can be loaded") as refusal:
        AttributeModel.load(tmp_path / "nowhere")
    assert "packaged" not in str(refusal.value)


def test_what_describes_no_image_is_refused(tiny_text_encoder):
    with pytest.raises(ConfigError, match="image"):
        AttributeModel.load(tiny_text_encoder)
