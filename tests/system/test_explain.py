"""``mvcn explain`` as a person uses it, and how it fails."""

import json
import shutil

import pytest
from PIL import Image


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory):
    """A copy: explanations keep features in the run folder."""
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "mine")


@pytest.fixture(scope="module")
def dev_ids(posts_table):
    from mvcn.data.table import read_table

    return [post.id for post in read_table(posts_table / "dev/posts.csv").posts]


def test_posts_get_a_picture_each_and_numbers(mvcn, run, dev_ids, tmp_path):
    chosen = ["--post", dev_ids[3], "--post", dev_ids[0]]
    code, output, _ = mvcn("explain", run, *chosen, "--output", tmp_path / "out")
    assert code == 0
    assert "explanation.json" in output
    numbers = json.loads((tmp_path / "out/explanation.json").read_text())
    assert [post["id"] for post in numbers["posts"]] == [dev_ids[3], dev_ids[0]]
    for post in numbers["posts"]:
        with Image.open(tmp_path / "out" / post["picture"]) as picture:
            assert picture.format == "PNG"
        assert sum(post["probabilities"].values()) == pytest.approx(1)
        assert post["neighbours"]


def test_a_whole_run_gets_maps_clusters_and_a_test_of_its_explanations(mvcn, run, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    options = ["--compare-with", other, "--sample", 3, "--method", "gradient"]
    code, *_ = mvcn("explain", run, *options, "--output", tmp_path / "out")
    assert code == 0
    numbers = json.loads((tmp_path / "out/explanation.json").read_text())["runs"]
    for one in numbers.values():
        assert -1 <= one["clusters"]["silhouette"] <= 1
        assert 0 <= one["zeros_in_attention"] < 1
        assert one["faithfulness"]["posts"] == 3
        assert one["most_faithful"] in {"attention", "gradient", "occlusion"}
    for name in ("maps.png", "attention.png"):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > 500


def test_posts_of_another_table_are_explained_without_the_training_posts(
    mvcn, run, posts_table, dev_ids, tmp_path
):
    moved = shutil.copytree(run, tmp_path / "moved")
    (moved / "train_features.safetensors").unlink(missing_ok=True)
    config = moved / "config.yaml"
    config.write_text(config.read_text().replace(str(posts_table), "/gone"))
    table = posts_table / "dev/posts.csv"
    code, _, errors = mvcn(
        *("explain", moved, "--root", table, "--post", dev_ids[1], "--output", tmp_path / "out")
    )
    assert code == 0
    assert "the training posts cannot be read" in errors
    (post,) = json.loads((tmp_path / "out/explanation.json").read_text())["posts"]
    assert post["distances"] == {}


def test_a_post_with_a_broken_image_is_explained_without_it_when_asked(mvcn, fails, run, tmp_path):
    table = tmp_path / "posts.csv"
    table.write_text("id,text,image\na/b,a lovely day,broken.png\n")
    (tmp_path / "broken.png").write_bytes(b"no image")
    command = ("explain", run, "--root", table, "--post", "a/b", "--output", tmp_path / "out")
    assert "--on-bad-image blank" in fails(*command)
    assert not (tmp_path / "out").exists()
    code, _, errors = mvcn(*command, "--on-bad-image", "blank")
    assert code == 0
    assert "post 'a/b'" in errors
    (post,) = json.loads((tmp_path / "out/explanation.json").read_text())["posts"]
    assert post["image"] is None


def test_mistakes_are_told_in_a_sentence(mvcn, fails, run, dev_ids, tmp_path):
    out = ("--output", tmp_path / "out")
    listed = ", ".join(map(repr, dev_ids[:3]))
    unknown = fails("explain", run, "--post", "nobody", *out)
    assert f"The dev posts of {run}, listed in {run / 'dev_predictions.csv'}," in unknown
    assert (
        f"do not include the id 'nobody': use --post with one of their ids, such as {listed}"
        in unknown
    )
    assert "(column 'id')" in unknown
    assert "is not a run folder" in fails("explain", tmp_path, *out)
    assert "--post" in fails("explain", run, "--root", tmp_path, *out)
    assert "the run itself" in fails("explain", run, "--beside", run, *out)
    shutil.rmtree(tmp_path / "out")
    assert "--compare-with" in fails("explain", run, "--post", dev_ids[0], "--beside", run, *out)
    (tmp_path / "letter").write_text("mine")
    assert "is a file" in fails("explain", run, "--output", tmp_path / "letter")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/diary.txt").write_text("mine")
    assert "other files" in fails("explain", run, "--output", tmp_path / "full")
    assert (tmp_path / "full/diary.txt").read_text() == "mine"


def test_earlier_explanations_are_replaced_only_when_asked(mvcn, fails, run, dev_ids, tmp_path):
    command = ("explain", run, "--post", dev_ids[0], "--output", tmp_path / "out")
    assert mvcn(*command)[0] == 0
    assert "--overwrite" in fails(*command)
    assert mvcn(*command, "--overwrite")[0] == 0
