"""What models see of images: features of frozen encoders from a cache, and pixels."""

import os
import signal
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mvcn.encoders.loading import load_image_encoder, load_image_processor
from mvcn.inputs import images
from mvcn.inputs.images import ImageFeatures, encoder_fingerprint
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.models.classification import MvcnForClassification
from mvcn.runtime.images import ImagePixels
from mvcn.types import Post
from tests.processes import run_copy


def picture(seed):
    """Return the bytes of a PNG file of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype="uint8")
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def model_and_processor(tiny_settings):
    config = ModelConfig(**tiny_settings)
    return build_model(config, ("a", "b")), build_processor(config)


def test_posts_with_the_same_picture_share_its_features(model_and_processor, tmp_path):
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "b.png").write_bytes(picture(0))
    found = ImageFeatures(*model_and_processor, tmp_path / "cache")
    pictures = [tmp_path / "a.png", tmp_path / "b.png", picture(0), picture(1)]
    assert found.encode([Post(str(i), "", image) for i, image in enumerate(pictures)]) == {}
    assert sum(len(np.load(path)) for path in tmp_path.rglob("*.npy")) == 2
    assert np.array_equal(found[pictures[0]], found[pictures[2]])
    assert not np.array_equal(found[pictures[0]], found[pictures[3]])


def test_each_post_of_an_unreadable_picture_is_reported(model_and_processor, tmp_path):
    found = ImageFeatures(*model_and_processor, tmp_path)
    posts = [Post("1", "", b"no picture"), Post("2", "", picture(0)), Post("3", "", b"no picture")]
    posts += [Post("4", "", tmp_path / "absent.png"), Post("5", "", None)]
    bad = found.encode(posts)
    assert sorted(bad) == [0, 2, 3]
    assert "not an image" in bad[2]
    assert "does not exist" in bad[3]


def test_cached_features_are_what_the_model_computes_from_pixels(model_and_processor, tmp_path):
    model, processor = model_and_processor
    found = ImageFeatures(model, processor, tmp_path)
    found.encode([Post("1", "", picture(0))])
    inputs = processor(["two ways"], [Image.open(BytesIO(picture(0)))])
    model.eval()
    by_pixels = model(**inputs)
    del inputs["pixel_values"]
    features = torch.from_numpy(found[picture(0)][None].astype(np.float32))
    by_cache = model(**inputs, image_features=features)
    assert torch.equal(by_cache.logits, by_pixels.logits)


def extract_until_killed(model, processor, root, posts):
    """Kill this process in the second cache file: its array is there, its digests are not."""
    rename, renames = Path.rename, []

    def kill_or_rename(path, target):
        renames.append(path)
        if len(renames) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(path, target)

    images.CACHE_FILE_IMAGES, Path.rename = 4, kill_or_rename
    ImageFeatures(model, processor, root).encode(posts)


def test_a_killed_extraction_is_resumed_and_gives_the_same(
    model_and_processor, tmp_path, monkeypatch
):
    (tmp_path / "pictures").mkdir()
    posts = []
    for seed in range(10):
        path = tmp_path / "pictures" / f"{seed}.png"
        path.write_bytes(picture(seed))
        posts.append(Post(path.name, "", path))
    arguments = (*model_and_processor, tmp_path / "killed", posts)
    assert run_copy(extract_until_killed, *arguments) == -signal.SIGKILL
    assert len(list((tmp_path / "killed").rglob("*.txt"))) == 1

    monkeypatch.setattr(images, "CACHE_FILE_IMAGES", 4)
    resumed = ImageFeatures(*model_and_processor, tmp_path / "killed")
    whole = ImageFeatures(*model_and_processor, tmp_path / "whole")
    computed = []
    add = resumed._cache.add
    monkeypatch.setattr(
        resumed._cache, "add", lambda digests, rows: (computed.extend(digests), add(digests, rows))
    )
    assert resumed.encode(posts) == whole.encode(posts) == {}
    assert len(computed) == 6  # the first cache file of 4 is not computed again
    for post in posts:
        assert np.array_equal(resumed[post.image], whole[post.image])


def test_images_are_seen_alike_without_a_cache(model_and_processor, tmp_path):
    (tmp_path / "file").touch()
    posts = [Post(str(number), "", picture(number)) for number in range(3)]
    kept = ImageFeatures(*model_and_processor, tmp_path / "cache")
    held = ImageFeatures(*model_and_processor, tmp_path / "file")
    for found in (kept, held):
        assert found.encode(posts) == {}
        assert found.encode(posts) == {}
    for post in posts:
        assert np.array_equal(kept[post.image], held[post.image])


@pytest.mark.parametrize("kind", ["features", "kept pixels", "pixels"])
def test_truncated_images_are_counted_once(kind, model_and_processor, tmp_path, caplog):
    model, processor = model_and_processor
    Image.linear_gradient("L").resize((40, 600)).save(stream := BytesIO(), "JPEG")
    posts = [Post(str(i), "x", stream.getvalue()[:-2] + b"\0" * i) for i in range(2)]
    images = (
        ImageFeatures(model, processor, tmp_path)
        if kind == "features"
        else ImagePixels(processor, keep=kind == "kept pixels")
    )
    assert images.encode(posts) == {}
    assert [images[post.image].shape for post in posts]
    (message,) = caplog.messages
    assert message.startswith("2 truncated images are used: The image in the given bytes is")


class TestFingerprint:
    @pytest.fixture
    def parts(self, tiny_image_encoder):
        name = str(tiny_image_encoder)
        return load_image_encoder(name), load_image_processor(name)

    def test_is_the_same_for_the_same_files(self, parts, tiny_image_encoder):
        again = load_image_encoder(str(tiny_image_encoder))
        assert encoder_fingerprint(*parts) == encoder_fingerprint(again, parts[1])

    def test_changes_with_any_weight(self, parts):
        encoder, processor = parts
        before = encoder_fingerprint(encoder, processor)
        with torch.no_grad():
            list(encoder.parameters())[-1].view(-1)[0] += 1e-6
        assert encoder_fingerprint(encoder, processor) != before

    def test_changes_with_a_setting_that_no_weight_shows(self, parts):
        encoder, processor = parts
        before = encoder_fingerprint(encoder, processor)
        encoder.config.layer_norm_eps = 1e-3
        assert encoder_fingerprint(encoder, processor) != before

    def test_does_not_depend_on_where_the_encoder_was_saved(
        self, parts, model_and_processor, tmp_path
    ):
        model, processor = model_and_processor
        model.save_pretrained(tmp_path)
        loaded = MvcnForClassification.from_pretrained(tmp_path)
        before = encoder_fingerprint(model.image_encoder, processor.image_processor)
        assert encoder_fingerprint(loaded.image_encoder, processor.image_processor) == before

    @pytest.mark.parametrize(
        ("setting", "value"), [("size", {"height": 40, "width": 32}), ("image_mean", [0.5, 0.5, 0])]
    )
    def test_changes_with_the_preprocessing(self, parts, setting, value):
        encoder, processor = parts
        before = encoder_fingerprint(encoder, processor)
        setattr(processor, setting, value)
        assert encoder_fingerprint(encoder, processor) != before


def test_a_graph_computes_the_features_of_pytorch(model_and_processor, tmp_path):
    posts = [Post(str(seed), "", picture(seed)) for seed in range(5)]
    found = []
    for by_graph in (False, True):
        images = ImageFeatures(*model_and_processor, tmp_path / str(by_graph), by_graph=by_graph)
        assert images.encode([*posts, Post("bad", "", b"no picture")]).keys() == {5}
        assert len(list((tmp_path / str(by_graph)).rglob("*.onnx"))) == by_graph
        found.append(np.stack([images[post.image] for post in posts]).astype(np.float32))
    assert np.ptp(found[0], 0).max() > 0.01, "features that are all alike would prove nothing"
    np.testing.assert_allclose(found[1], found[0], rtol=2**-10, atol=1e-4)  # half precision

    (graph,) = (tmp_path / "True").rglob("*.onnx")
    graph.write_bytes(graph.read_bytes()[:100])
    again = ImageFeatures(*model_and_processor, tmp_path / "True", by_graph=True)
    again.encode([Post("new", "", picture(9))])
    assert graph.stat().st_size > 100
    assert np.isfinite(again[picture(9)]).all()


def test_without_a_place_for_a_graph_pytorch_computes_the_features(model_and_processor, tmp_path):
    (tmp_path / "image-graphs").touch()  # no folder
    images = ImageFeatures(*model_and_processor, tmp_path, by_graph=True)
    assert images.encode([Post("1", "", picture(0))]) == {}
    assert np.isfinite(images[picture(0)]).all()
