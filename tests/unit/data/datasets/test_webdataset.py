"""Shards of WebDataset: the samples that the library itself reads, each image from its place."""

import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from webdataset.shardlists import expand_urls
from webdataset.tariterators import group_by_keys, tar_file_expander

from mvcn.data.datasets.prepared import read_prepared
from mvcn.data.datasets.webdataset import read_samples, read_webdataset
from mvcn.data.images import image_digest, open_image, read_image
from mvcn.data.prepare import prepare
from mvcn.data.stored_files import find_row_files
from mvcn.data.stored_images import read_members
from mvcn.errors import BadImageError, DataError, RunError, how_to_install


def picture(seed=0, format="JPEG"):
    Image.linear_gradient("L").rotate(seed).save(stream := io.BytesIO(), format)
    return stream.getvalue()


def add(archive, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write(path, members):
    """A tar file of names and contents, in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            add(archive, name, content if isinstance(content, bytes) else content.encode())
    return path


@pytest.fixture
def folder(tmp_path):
    """Three shards as img2dataset writes them, the rows of failed downloads left out."""
    for shard in range(3):
        with webdataset.TarWriter(str(tmp_path / f"{shard:05d}.tar"), encoder=True) as writer:
            for number in range(4):
                key = f"{shard:05d}{number:04d}"
                fields = {"caption": f"text {key}", "key": key, "status": "success", "url": "u"}
                writer.write(
                    {
                        "__key__": key,
                        "jpg": picture(4 * shard + number),
                        "txt": f"text {key}",
                        "json": fields | {"label": number % 2, "width": 256, "exif": "{}"},
                    }
                )
        (tmp_path / f"{shard:05d}.parquet").write_bytes(b"not read")
        (tmp_path / f"{shard:05d}_stats.json").write_text("{}")
    return tmp_path


def samples_by_library(place):
    """Samples as the library itself reads them; its own opener leaves files open."""
    for path in expand_urls(str(place)):
        with Path(path).open("rb") as stream:
            files = tar_file_expander([{"url": path, "stream": stream}])
            for sample in group_by_keys(files):
                del sample["__url__"]
                yield sample


def by_library(place):
    samples = samples_by_library(place)
    return [(sample["__key__"], sample["txt"].decode(), sample["jpg"]) for sample in samples]


def plain(corpus):
    return [(post.id, post.text, post.image.read()) for post in corpus.posts]


@pytest.mark.parametrize("pattern", ["", "{00000..00002}.tar", "*.tar", "0000[0-2].tar"])
def test_the_same_posts_as_the_library_reads(folder, pattern):
    corpus = read_webdataset(folder / pattern)
    assert plain(corpus) == by_library(str(folder / "{00000..00002}.tar"))
    assert corpus.class_names == ("0", "1")
    assert [post.label for post in corpus.posts] == 6 * ["0", "1"]


def test_one_shard_and_some_of_a_range(folder):
    one, some = folder / "00001.tar", folder / "{00000,00002}.tar"
    assert plain(read_webdataset(one)) == by_library(str(one))
    assert plain(read_webdataset(some)) == by_library(str(some))


def test_nothing_is_unpacked_and_no_image_is_read_before_it_is_needed(folder, monkeypatch):
    before = sorted(folder.rglob("*"))
    posts = read_webdataset(folder).posts
    read = image_digest(posts[-1].image)
    assert read == image_digest(picture(11))
    assert sorted(folder.rglob("*")) == before
    content = bytearray((folder / "00000.tar").read_bytes())
    image = posts[1].image
    kept = (os.stat(image.file.path).st_atime_ns, os.stat(image.file.path).st_mtime_ns)
    content[image.offset : image.offset + image.size_bytes] = picture(7)[:3] + bytes(
        image.size_bytes - 3
    )
    (folder / "00000.tar").write_bytes(content)
    os.utime(folder / "00000.tar", ns=kept)
    with pytest.raises(BadImageError, match=r"Image 000000001\.jpg in .*00000\.tar is"):
        open_image(image)


def test_threads_and_processes_read_images(folder):
    posts = read_webdataset(folder).posts
    expected = [picture(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(read_image, [post.image for post in posts] * 5)) == expected * 5
    assert pickle.loads(pickle.dumps(posts[3].image)).read() == expected[3]


@pytest.mark.parametrize("change", ["touched", "longer", "gone"])
def test_a_shard_that_was_changed_is_reported(folder, change):
    image = read_webdataset(folder).posts[0].image
    path = folder / "00000.tar"
    if change == "touched":
        os.utime(path, ns=(1, 1))
    elif change == "longer":
        with path.open("ab") as file:
            file.write(bytes(512))
    else:
        path.unlink()
    with pytest.raises(BadImageError, match=r"00000\.tar was changed or removed .* 000000000\.jpg"):
        image.read()


KEYS = st.sampled_from(["a", "b/a", "b.c/a", "c", "_d", "e f"])
SUFFIXES = st.sets(st.sampled_from(["txt", "cls", "seg.png", "JPG", "x.y.z"]), min_size=1)


@given(st.dictionaries(KEYS, SUFFIXES, min_size=1))
def test_members_are_grouped_as_the_library_groups_them(tmp_path_factory, samples):
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    members = [(f"{key}.{suffix}", key + suffix) for key in samples for suffix in samples[key]]
    write(path, [("README", "a"), ("__meta__", "b"), ("__meta__/1.txt", "c"), *members])
    (shard,) = find_row_files([str(path)])
    found = [
        {"__key__": one.key} | {suffix: member.read() for suffix, member in one.members.items()}
        for one in read_samples(shard)
    ]
    assert found == list(samples_by_library(path))
    assert [one["__key__"] for one in found] == list(samples)


def test_keys_do_not_begin_with_the_folder_that_tar_was_called_in(tmp_path):
    shard = write(tmp_path / "a.tar", [("./1.txt", "a"), ("./b/2.txt", "b")])
    assert [post.id for post in read_webdataset(shard).posts] == ["1", "b/2"]


def test_fields_and_members_are_columns(tmp_path):
    fields = {"title": "a title", "caption": "a caption", "grade": "good", "part": "validation"}
    shard = write(
        tmp_path / "a.tar",
        [
            ("1.png", picture(1, "PNG")),
            ("1.seg.png", picture(2, "PNG")),
            ("1.long.txt", "long"),
            ("1.cls", "bad\n"),
            ("1.json", json.dumps(fields)),
            ("2.json", json.dumps({"text": "t", "label": "good", "image": None})),
        ],
    )
    first, second = read_webdataset(shard).posts
    assert (first.id, first.text, first.label, first.split) == ("1", "a caption", "bad", None)
    assert first.image.read() == picture(1, "PNG")
    assert (second.text, second.label, second.image) == ("t", "good", None)
    columns = {"text": "title", "label": "grade", "image": "seg.png", "split": "part"}
    first, second = read_webdataset(shard, columns=columns).posts
    assert (first.text, first.label, first.split) == ("a title", "good", "dev")
    assert first.image.read() == picture(2, "PNG")
    assert (second.text, second.label, second.image) == ("", None, None)
    assert read_webdataset(shard, columns={"text": "long.txt"}).posts[0].text == "long"
    with pytest.raises(DataError, match="no column 'headline' for 'text'"):
        read_webdataset(shard, columns={"text": "headline"})


def columns_in_log(caplog):
    return [line for line in caplog.messages if " from '" in line][-1].partition(": ")[2]


def test_members_called_as_a_column_are_that_column(tmp_path, caplog):
    caplog.set_level("INFO")
    members = [
        *(("0.jpg", picture(1)), ("0.txt", "a"), ("0.label", "good\n"), ("0.npy", b"\xff")),
        *(("1.JPG", picture(2)), ("1.text", "b"), ("1.cls", "bad"), ("1.title", "a title")),
        *(("2.png", picture(3, "PNG")), ("2.caption", "c"), ("2.label", "bad")),
    ]
    shard = write(tmp_path / "a.tar", members)
    posts = read_webdataset(shard).posts
    assert [(p.text, p.label) for p in posts] == [("a", "good"), ("b", "bad"), ("c", "bad")]
    read = "text from 'text', image from 'image', label from 'label'"
    assert columns_in_log(caplog) == f"id from 'id', {read}; not read: 'npy', 'title'."
    titles = [post.text for post in read_webdataset(shard, columns={"text": "title"}).posts]
    assert titles == ["", "a title", ""]


def test_members_that_are_read_are_not_said_to_be_left(folder, caplog):
    caplog.set_level("INFO")
    read_webdataset(folder)
    left = columns_in_log(caplog).partition("not read: ")[2]
    assert left == "'caption', 'key', 'status', 'url', 'width', 'exif'."
    posts = read_webdataset(folder, columns={"text": "txt", "image": "jpg"}).posts
    assert [post.text for post in posts] == [f"text {post.id}" for post in posts]
    assert posts[0].image.read() == picture(0)


def test_files_of_the_system_that_packed_a_shard_are_no_posts(tmp_path, caplog):
    caplog.set_level("INFO")
    hidden = [("__MACOSX/._1.jpg", b"\0"), ("a/._1.jpg", b"\0"), ("a/.DS_Store", b"\0")]
    shard = write(tmp_path / "a.tar", [*hidden, ("a/1.txt", "text")])
    assert [post.id for post in read_webdataset(shard).posts] == ["a/1"]
    assert f"{shard}: 3 hidden members are not read, such as __MACOSX/._1.jpg." in caplog.text
    assert "Read 1 sample of 1 WebDataset shard." in caplog.text


def test_a_text_that_is_not_there_is_empty_and_half_characters_are_replaced(tmp_path):
    shard = write(
        tmp_path / "a.tar",
        [
            ("1.jpg", picture()),
            ("2.json", '{"caption": "half \\ud83d, whole \\ud83d\\ude00", "label": "x"}'),
            ("3.txt", "\ufeffwith a mark"),
        ],
    )
    texts = [post.text for post in read_webdataset(shard).posts]
    assert texts == ["", "half \ufffd, whole \U0001f600", "with a mark"]


def test_two_images_of_a_post_are_asked_for(tmp_path):
    shard = write(tmp_path / "a.tar", [("1.jpg", picture(1)), ("1.png", picture(2, "PNG"))])
    with pytest.raises(DataError, match=r"sample 1 has the images jpg and png: .*image=jpg"):
        read_webdataset(shard)
    post = read_webdataset(shard, columns={"image": "png"}).posts[0]
    assert post.image.read() == picture(2, "PNG")


def test_keys_of_two_shards_get_the_name_of_their_shard(tmp_path):
    for part in ("train", "val"):
        write(tmp_path / part / "000.tar", [("0.txt", part), ("1.txt", part)])
    corpus = read_webdataset(tmp_path)
    assert [(post.id, post.text, post.split) for post in corpus.posts] == [
        ("train/000/0", "train", "train"),
        ("train/000/1", "train", "train"),
        ("val/000/0", "val", "dev"),
        ("val/000/1", "val", "dev"),
    ]
    assert [post.id for post in read_webdataset(tmp_path, splits=["dev"]).posts] == [
        "val/000/0",
        "val/000/1",
    ]


def test_parts_are_named_by_all_shards_or_by_none(tmp_path):
    write(tmp_path / "train-0.tar", [("0.txt", "a")])
    assert read_webdataset(tmp_path).posts[0].split is None  # as datasets without parts are called
    write(tmp_path / "test-0.tar", [("1.txt", "b")])
    assert [post.split for post in read_webdataset(tmp_path).posts] == ["test", "train"]
    write(tmp_path / "more-0.tar", [("2.txt", "c")])
    with pytest.raises(DataError, match=r"others, such as .*more-0\.tar, do not: rename"):
        read_webdataset(tmp_path)


def whole(tmp_path):
    return write(tmp_path / "a.tar", [("1.txt", "a" * 700), ("1.jpg", picture()), ("2.txt", "b")])


def test_every_shard_that_ends_early_is_refused(tmp_path):
    path = whole(tmp_path)
    content = path.read_bytes()
    end = len(content.rstrip(b"\0"))
    last = end - end % 512 + 512  # of the last member; zeros follow
    read_webdataset(path)
    for length in [*range(0, last, 97), *range(512, last + 1, 512)]:
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"a\.tar is damaged or incomplete (after|at its beg)"):
            read_webdataset(path)
    path.write_bytes(content[: last + 512])
    read_webdataset(path)


def test_damage_is_told_with_the_member_before_it(tmp_path):
    path = whole(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"2.txt") + 3] ^= 1  # its check sum is wrong now
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.tar is damaged or incomplete after its file 1\."):
        read_webdataset(path)


def test_two_archives_in_one_file_are_not_read_by_half(tmp_path):
    path = whole(tmp_path)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(DataError, match=r"after its file 2\.txt \(what follows is not a file\)"):
        read_webdataset(path)


def with_link(path):
    with tarfile.open(path, "w") as archive:
        add(archive, "1.txt", b"a")
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)


def compressed(path):
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "1.txt", b"a")


REFUSED = {
    "no tar": (lambda path: path.write_bytes(b"text" * 500), "is damaged or incomplete at its beg"),
    "empty": (lambda path: path.write_bytes(b""), "is damaged or incomplete at its beginning"),
    "compressed": (compressed, "is compressed, .* gunzip"),
    "link": (with_link, r"1\.jpg in it is a link or a device: .*--dereference"),
    "twice": (lambda path: write(path, [("1.txt", "a"), ("1.txt", "b")]), r"two files called 1\."),
    "scattered": (
        lambda path: write(path, [("1.txt", "a"), ("2.txt", "b"), ("1.cls", "c")]),
        "files of sample '1' are not next to each other: .*--sort=name",
    ),
    "nothing": (lambda path: write(path, [("README", "a")]), "has no samples"),
    "array": (lambda path: write(path, [("1.json", "[1]")]), "'text' cannot be read .*not an obj"),
    "json": (lambda path: write(path, [("1.json", "{")]), r"sample 1: .*its \.json is not valid"),
    "bytes": (lambda path: write(path, [("1.txt", b"\xff")]), r"byte 0 of 1\.txt is not UTF-8"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_refused_is_told_in_one_sentence(tmp_path, kind):
    make, message = REFUSED[kind]
    make(tmp_path / "shard-7.tar")
    with pytest.raises(DataError, match=message) as error:
        read_webdataset(tmp_path)
    assert "shard-7.tar" in str(error.value) or kind == "nothing"
    assert "\n" not in str(error.value)


def test_places_without_shards_are_refused(tmp_path):
    write(tmp_path / "00.tar", [("1.txt", "a")])
    for name, message in {
        "{00..02}.tar": r"01\.tar does not exist: use a tar file",
        "*.tgz": "There is no tar file in",
        "missing": "does not exist",
        "{00": "does not exist|brace",
    }.items():
        with pytest.raises(DataError, match=message):
            read_webdataset(tmp_path / name)


def test_a_folder_with_a_compressed_shard_does_not_lose_it(tmp_path):
    write(tmp_path / "00.tar", [("1.txt", "a")])
    compressed(tmp_path / "01.tar.gz")
    with pytest.raises(DataError, match=r"01\.tar\.gz is compressed"):
        read_webdataset(tmp_path)


def test_long_and_odd_names(tmp_path):
    names = ["x" * 90 + "/" + "y" * 150, "\u00e9\u4e2d\U0001f600", "a b"]
    for format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=format) as archive:
            for name in names:
                add(archive, f"{name}.txt", name.encode())
        posts = read_webdataset(tmp_path / "a.tar").posts
        assert [(post.id, post.text) for post in posts] == [(name, name) for name in names]


def test_shards_can_be_prepared(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("prepared")
    corpus = read_webdataset(folder)
    prepare(corpus, output, dataset="webdataset")
    assert plain(read_prepared(output)) == plain(corpus)
    with pytest.raises(RunError, match="contains the images"):
        prepare(corpus, folder, dataset="webdataset")


def test_tables_next_to_shards_are_not_read_as_posts(folder):
    found = [Path(file.path).name for file in find_row_files([str(folder)])]
    assert found == ["00000.tar", "00001.tar", "00002.tar"]
    (folder / "more.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"Parquet files \(.*more\.parquet\) and tar files \(.*\*"):
        find_row_files([str(folder)])
    tables = find_row_files([str(folder / "*.parquet")])
    assert [Path(file.path).name for file in tables] == [
        *(f"0000{n}.parquet" for n in range(3)),
        "more.parquet",
    ]


def test_members_are_listed_with_their_places(folder):
    shard = find_row_files([str(folder)])[0]
    content = Path(shard.path).read_bytes()
    for member in read_members(shard):
        assert content[member.offset : member.offset + member.size_bytes] == member.read()


WITHOUT_LIBRARY = """
import sys
sys.modules["webdataset"] = None
from pathlib import Path
from mvcn.data.datasets import read_corpus
from mvcn.errors import ConfigError
for place in sys.argv[1:]:
    try:
        read_corpus("webdataset", Path(place))
    except ConfigError as error:
        print(error)
"""


def test_without_the_library_the_extra_is_named(folder):
    places = [str(folder), str(folder / "{00000..00001}.tar")]
    command = [sys.executable, "-c", WITHOUT_LIBRARY, *places]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sentence = f"A WebDataset shard needs the extra 'webdataset': {how_to_install('webdataset')}."
    assert done.stdout.splitlines() == [sentence] * 2


def test_samples_of_several_images_are_reported_together(tmp_path):
    names = [f"{number}.{kind}" for number in (1, 2) for kind in ("jpg", "png")]
    write(tmp_path / "a.tar", [(name, "x") for name in names])
    with pytest.raises(DataError, match=r"a\.tar has 2 bad rows:\n.*sample 1 .*\n.*sample 2 "):
        read_webdataset(tmp_path / "a.tar")
