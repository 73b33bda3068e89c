"""Images that are not there are found out before anything is decoded."""

import pytest

from mvcn.data import bad_images as module
from mvcn.data.bad_images import missing_images, require_any_image, require_images
from mvcn.data.image_references import UnreadableImage
from mvcn.errors import BadImageError, DataError
from mvcn.types import Post


@pytest.fixture
def posts(tmp_path, generated_posts):
    """One post for each kind of image: whole, damaged, missing, refused, in memory, and none."""
    (tmp_path / "whole.png").write_bytes(generated_posts[0].image)
    (tmp_path / "damaged.png").write_bytes(generated_posts[0].image[:300])
    (tmp_path / "loop.png").symlink_to("loop.png")
    images = {
        "whole": tmp_path / "whole.png",
        "damaged": tmp_path / "damaged.png",
        "missing": tmp_path / "missing.png",
        "loop": tmp_path / "loop.png",
        "folder": tmp_path,
        "refused": UnreadableImage("ftp://a/b.png", "row 1: it is a web address."),
        "bytes": b"not looked at",
        "none": None,
    }
    return [Post(name, "a", image) for name, image in images.items()]


def test_what_is_missing_is_known_by_name_alone(posts, tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda *_: pytest.fail("a file was opened"))
    missing = missing_images(posts)
    assert list(missing) == ["missing", "loop", "folder", "refused"]
    assert missing["refused"] == "row 1: it is a web address."
    assert "it does not exist" in missing["missing"]
    assert str(tmp_path / "missing.png") in missing["missing"]


def test_one_error_names_all_that_is_wrong_with_few_images(posts):
    with pytest.raises(BadImageError, match=r"6 images cannot be read") as error:
        require_images(posts, "error")
    for name in ("damaged", "missing", "loop", "folder", "refused", "bytes"):
        assert f"post {name!r}: " in str(error.value)
    assert "--images FOLDER" in str(error.value)


def test_of_many_images_only_the_missing_ones_are_named(posts, monkeypatch):
    monkeypatch.setattr(module, "READ_AT_ONCE", 6)
    with pytest.raises(BadImageError, match=r"4 images cannot be read") as error:
        require_images(posts, "error")
    assert "post 'damaged'" not in str(error.value)


@pytest.mark.parametrize("policy", ["blank", "drop"])
def test_nothing_is_required_where_bad_images_are_no_errors(posts, policy):
    require_images(posts, policy)


def test_ten_are_named_and_all_are_counted(tmp_path):
    posts = [Post(f"p{number}", "a", tmp_path / f"{number}.png") for number in range(12)]
    with pytest.raises(BadImageError, match="12 images cannot be read:\n") as error:
        require_images(posts, "error")
    named = [post.id for post in posts if f"post {post.id!r}:" in str(error.value)]
    assert named == [post.id for post in posts[:10]]
    *_, more, remedy = str(error.value).splitlines()
    assert more == "  and 2 more."
    assert remedy.startswith("Fix them, ")
    assert "--text-only" in remedy


def test_posts_of_which_no_image_is_there_are_refused(posts):
    require_any_image(posts)
    require_any_image([post for post in posts if post.image is None])
    missing = [post for post in posts if post.id in ("missing", "none", "refused")]
    with pytest.raises(DataError, match=r"None of the 2 images.*--images FOLDER.*--text-only"):
        require_any_image(missing)
