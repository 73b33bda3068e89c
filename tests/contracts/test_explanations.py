"""Every model can be explained, by all that it reads and nothing else."""

import pytest

from mvcn.config import RunConfig, read_recipe
from mvcn.explain.figures import draw_post
from mvcn.explain.observation import PreparedPosts
from mvcn.explain.post import explain
from mvcn.explain.saliency import methods_for
from mvcn.models import MODELS, build_model, build_processor

CLASSES = ("negative", "neutral", "positive")


@pytest.mark.parametrize("name", MODELS)
def test_posts_are_explained(name, tiny_settings, generated_posts):
    config: RunConfig = read_recipe(name)
    config.update({"model": tiny_settings | {"frozen_text_layers": 0, "text_layers": None}})
    model, processor = build_model(config.model, CLASSES).eval(), build_processor(config.model)
    assert methods_for(model)[-1] == "occlusion"
    posts = PreparedPosts(model, processor, generated_posts[:1])
    for method in methods_for(model):
        (found,) = explain(model, processor, posts, method)
        assert sum(found.probabilities.values()) == pytest.approx(1)
        assert bool(found.words) == (model.text_encoder is not None)
        assert (found.saliency is not None) == (model.image_encoder is not None)
        if found.saliency is not None:
            assert found.saliency.isfinite().all()
    assert draw_post(found).startswith(b"\x89PNG")
