"""Generated posts: labels, words and pixels against the truth that comes with them."""

import hashlib
import subprocess
import sys
from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from mvcn.data.datasets.mvsa import POLARITIES, merge_labels
from mvcn.data.images import open_image
from mvcn.data.synthetic import (
    CUE_WORDS,
    FACE_COLORS,
    FILLERS,
    LABEL_PAIR_SHARES,
    SHAPE_COLORS,
    TEMPLATES,
    generate_posts,
    write_table,
)
from mvcn.data.table import read_table


@pytest.fixture(scope="module")
def generated():
    return generate_posts(200, seed=0)


def pixels(post):
    return np.asarray(Image.open(BytesIO(post.post.image)), int)


def test_posts_follow_from_seed_and_number_byte_for_byte(generated):
    assert generate_posts(5, seed=0) == generated[:5]
    assert generate_posts(5, seed=1) != generated[:5]
    assert len({post.post.image for post in generated}) == len(generated)
    assert len({post.post.id for post in generated}) == len(generated)


def test_images_do_not_depend_on_the_hash_seed():
    program = (
        "import hashlib; from mvcn.data.synthetic import generate_posts;"
        "print(hashlib.sha256(repr(generate_posts(3, 7)).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr(generate_posts(3, 7)).encode()).hexdigest()
    environment = {"PYTHONHASHSEED": "5"}
    run = [sys.executable, "-c", program]
    there = subprocess.run(run, env=environment, capture_output=True, check=True, text=True)
    assert there.stdout.strip() == here


def test_the_label_is_the_two_labels_merged_and_never_contradictory(generated):
    for post in (g.post for g in generated):
        assert post.label == merge_labels(post.text_label, post.image_label) in POLARITIES


def test_two_posts_in_five_carry_two_labels(generated):
    assert sum(LABEL_PAIR_SHARES.values()) == pytest.approx(1)
    assert sum(p for (a, b), p in LABEL_PAIR_SHARES.items() if a != b) == pytest.approx(0.4)
    # Binomial(200, 0.4): mean 80, standard deviation 6.9; five of them are 35.
    assert 45 < sum(g.post.text_label != g.post.image_label for g in generated) < 115
    assert set(Counter(g.post.label for g in generated)) == set(POLARITIES)


def words_of(text):
    return [word.strip("@#:!?,.0123456789") for word in text.lower().split()]


def test_the_cue_words_are_all_that_tells_of_the_polarity(generated):
    polarity_of = {word: label for label, words in CUE_WORDS.items() for word in words}
    assert len(polarity_of) == sum(len(words) for words in CUE_WORDS.values())
    for g in generated:
        told = [word for word in words_of(g.post.text) if word in polarity_of]
        assert tuple(told) == g.cue_words
        assert {polarity_of[word] for word in told} == {g.post.text_label}


def test_templates_and_fillers_hold_no_cue_words():
    neutral_ground = words_of(" ".join((*TEMPLATES, *sum(FILLERS.values(), ()))))
    assert not set(neutral_ground) & set(sum(CUE_WORDS.values(), ()))


def test_texts_vary(generated):
    assert len({g.post.text for g in generated}) == len(generated)


def test_patches_are_on_the_grid_and_everywhere(generated):
    for left, top, right, bottom in (g.patch_box_px for g in generated):
        assert left % 32 == top % 32 == 0
        assert (right - left, bottom - top) == (64, 64)
        assert min(left, top) >= 0
        assert max(right, bottom) <= 224
    # 36 places; one that is never hit by 200 draws has probability 36 * (35 / 36) ** 200 = 0.13.
    assert len({g.patch_box_px for g in generated}) >= 33


def nearest_color(rgb):
    """Name the nearest of the colours that shapes are painted in."""
    distances = np.abs(np.array(SHAPE_COLORS) - rgb[..., None, :]).sum(-1)
    return np.where(distances.min(-1) < 40, distances.argmin(-1), -1)


def test_the_patch_shows_the_face_of_the_image_label(generated):
    for g in generated:
        left, top, right, bottom = g.patch_box_px
        middle = pixels(g)[top + 16 : bottom - 16, left + 16 : right - 16]  # inside the face
        colors = nearest_color(middle)
        counts = [int((colors == SHAPE_COLORS.index(FACE_COLORS[p])).sum()) for p in POLARITIES]
        assert POLARITIES[int(np.argmax(counts))] == g.post.image_label
        assert max(counts) > 0.4 * 32 * 32


def test_face_colors_also_occur_outside_the_patch(generated):
    elsewhere = Counter()
    for g in generated:
        left, top, right, bottom = g.patch_box_px
        colors = nearest_color(pixels(g))
        colors[top:bottom, left:right] = -1
        for polarity, color in FACE_COLORS.items():
            enough = (colors == SHAPE_COLORS.index(color)).sum() > 100
            elsewhere[g.post.image_label, polarity] += bool(enough)
    shown = Counter(g.post.image_label for g in generated)
    for label in POLARITIES:
        for polarity in POLARITIES:
            assert elsewhere[label, polarity] > 0.4 * shown[label]


def test_images_are_png_files_of_224_pixels(generated):
    with Image.open(BytesIO(generated[0].post.image)) as image:
        assert (image.format, image.size, image.mode) == ("PNG", (224, 224), "RGB")


def test_a_written_table_is_read_back_as_generated(generated, tmp_path):
    some = generated[:12]
    corpus = read_table(write_table(some, tmp_path / "new" / "folder"))
    assert set(corpus.class_names) == {g.post.label for g in some}
    for post, g in zip(corpus.posts, some, strict=True):
        assert (post.id, post.text, post.label) == (g.post.id, g.post.text, g.post.label)
        assert (post.text_label, post.image_label) == (g.post.text_label, g.post.image_label)
        np.testing.assert_array_equal(np.asarray(open_image(post.image)), pixels(g))


def test_no_post_is_no_problem():
    assert generate_posts(0, seed=0) == []
