"""Files are written with the usual permissions, and unreadable ones are reported as that."""

import io
import os
import shutil
import stat
import tarfile

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from mvcn.data.datasets import read_corpus
from mvcn.data.datasets.prepared import read_prepared
from mvcn.data.formats.parquet import ParquetRows
from mvcn.data.images import image_digest, open_image
from mvcn.data.prepare import prepare
from mvcn.data.splits import read_ids
from mvcn.data.stored_files import find_row_files
from mvcn.data.table import read_table
from mvcn.encoders.loading import load_text_encoder
from mvcn.errors import BadImageError, ConfigError, DataError, RunError
from mvcn.files import save_tensors, write_json
from mvcn.inference.classifier import Classifier
from mvcn.inputs.attributes import AttributeModel
from mvcn.inputs.processor import build_processor
from mvcn.model_config import ModelConfig
from mvcn.models.build import build_model
from mvcn.training.run_folder import Run
from mvcn.types import Post


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_what_is_saved_has_the_permissions_of_the_umask(
    umask, tiny_settings, tiny_image_encoder, tmp_path
):
    config = ModelConfig(**tiny_settings)
    build_model(config, ("a", "b")).save_pretrained(tmp_path)
    build_processor(config).save_pretrained(tmp_path)
    AttributeModel.load(tiny_image_encoder).save(tmp_path / "describer")
    save_tensors({"weight": torch.zeros(2)}, tmp_path / "more.safetensors")
    write_json(tmp_path / "numbers.json", {})
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"model.safetensors", "config.json", "tokenizer.json"}
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in files}
    assert found == dict.fromkeys(found, 0o666 & ~umask)


def test_all_files_of_a_run_have_the_same_permissions(tiny_run):
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tiny_run.rglob("*") if path.is_file()}
    assert len(modes) == 1


def shared_copy(folder, target):
    """Copy a folder; the folders of tests are their owner's alone."""
    shutil.copytree(folder, target)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)
    return target


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_table_that_may_not_be_read_is_reported_as_that(suffix, what, place, forbid):
    path = place / "in" / f"posts{suffix}"
    path.parent.mkdir()
    path.write_text("text\na\n")
    part = path if what == "file" else path.parent
    forbid(part)
    with pytest.raises(DataError) as error:
        read_table(path)
    letter = "r" if what == "file" else "x"
    assert str(error.value) == (
        f"{path} cannot be read (permission denied): run chmod +{letter} {part}."
    )


@pytest.mark.parametrize("read", [open_image, image_digest])
def test_an_image_that_may_not_be_read_is_reported_as_that(read, generated_posts, place, forbid):
    path = place / "a picture.png"
    path.write_bytes(generated_posts[0].image)
    forbid(path)
    with pytest.raises(BadImageError, match=r"permission denied\): run chmod \+r '.*png'"):
        read(path)


def test_an_image_in_a_file_that_may_not_be_read_is_reported_as_that(
    generated_posts, place, forbid
):
    path = place / "posts.parquet"
    pq.write_table(pa.table({"image": [generated_posts[0].image]}), path)
    (post,) = read_table(path).posts
    forbid(path)
    with pytest.raises(BadImageError, match=r"permission denied\): run chmod \+r"):
        open_image(post.image)


def test_posts_of_a_job_that_may_not_be_read_are_reported_as_that(place, forbid):
    path = place / "posts.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    (file,) = find_row_files([str(path)])
    forbid(path)
    with pytest.raises(DataError, match=r"^/.*posts\.parquet cannot be read \(permission denied\)"):
        ParquetRows(file)


@pytest.mark.parametrize("name", ["", "config.json", "model.safetensors", "tokenizer.json"])
def test_a_run_that_may_not_be_read_is_reported_as_that(name, tiny_run, place, forbid):
    folder = shared_copy(tiny_run, place / "run")
    Classifier.from_pretrained(folder)
    forbid(folder / name)
    letters = "r" if name else "rx"
    for source in (folder, str(folder)):
        with pytest.raises(RunError, match=rf"denied\): run chmod \+{letters} .*run/?{name}"):
            Classifier.from_pretrained(source)


def test_the_numbers_of_a_run_that_may_not_be_read_are_reported_as_that(tiny_run, place, forbid):
    folder = shared_copy(tiny_run, place / "run")
    forbid(folder / "metrics.json")
    with pytest.raises(RunError, match=r"metrics\.json cannot be read \(permission denied\)"):
        Run(folder).metrics  # noqa: B018 (reads a file)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_an_encoder_that_may_not_be_read_is_reported_as_that(
    name, tiny_text_encoder, place, forbid
):
    folder = shared_copy(tiny_text_encoder, place / "encoder")
    load_text_encoder(str(folder))
    forbid(folder / name)
    with pytest.raises(ConfigError, match=rf"text encoder .*{name} cannot be read \(permission"):
        load_text_encoder(str(folder))


@pytest.mark.parametrize("name", ["dataset.json", "data/posts-00000-of-00001.parquet"])
def test_prepared_posts_that_may_not_be_read_are_reported_as_that(name, place, forbid):
    (place / "a.csv").write_text("text,label\na,x\n")
    prepare(read_table(place / "a.csv"), place / "prepared", dataset="table")
    read_prepared(place / "prepared")
    forbid(place / "prepared" / name)
    with pytest.raises(DataError, match=rf"{name} cannot be read \(permission denied\)"):
        read_prepared(place / "prepared")


def test_ids_that_may_not_be_read_are_reported_as_that(place, forbid):
    path = place / "train.txt"
    path.write_text("1\n")
    forbid(path)
    with pytest.raises(DataError, match=r"train\.txt cannot be read \(permission denied\)"):
        read_ids(path)


def write(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    return folder


LAYOUTS = {
    "hfm": {"text/train.txt": "['1', 'words', 1]\n"},
    "mvsa-single": {"labelResultAll.txt": "ID\ttext,image\n1\tneutral,neutral\n", "data/1.txt": ""},
}


@pytest.mark.parametrize(
    ("name", "locked"),
    [
        *(("hfm", place) for place in ("text/train.txt", "text", "")),
        *(("mvsa-single", place) for place in ("data/1.txt", "data", "labelResultAll.txt", "")),
    ],
)
@pytest.mark.parametrize("above", ["", "unpacked"])
def test_a_published_dataset_that_may_not_be_read_is_reported_as_that(
    name, locked, above, place, forbid
):
    folder = write(place / "root" / above, LAYOUTS[name])
    for path in (place / "root", *(place / "root").rglob("*")):
        path.chmod(0o755)
    read_corpus(name, place / "root")
    forbid(folder / locked)
    with pytest.raises(
        DataError, match=rf"{locked}\S* cannot be read \(permission denied\): run chmod"
    ):
        read_corpus(name, place / "root")


def test_shards_that_may_not_be_read_are_reported_as_that(place, forbid):
    path = place / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("1.txt", "1.jpg"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    (post,) = read_corpus("webdataset", place).posts
    forbid(path)
    with pytest.raises(
        BadImageError, match=r"a\.tar cannot be read \(permission denied\): run chmod"
    ):
        open_image(post.image)
    with pytest.raises(
        DataError, match=r"^/.*a\.tar cannot be read \(permission denied\): run chmod"
    ):
        read_corpus("webdataset", place)


def test_a_saved_dataset_that_may_not_be_read_is_reported_as_that(place, forbid):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(place / "saved"))
    for path in (place / "saved", *(place / "saved").rglob("*")):
        path.chmod(0o755)
    read_corpus("hugging-face", place / "saved")
    (arrow,) = (place / "saved").glob("*.arrow")
    forbid(arrow)
    with pytest.raises(DataError, match=r"\.arrow cannot be read \(permission denied\): run chmod"):
        read_corpus("hugging-face", place / "saved")


def test_a_post_whose_image_may_not_be_read_has_a_bad_image(tiny_run, place, forbid):
    path = place / "a.png"
    path.write_bytes(b"")
    classifier = Classifier.from_pretrained(tiny_run)
    list(classifier.predict([Post("1", "fine", None)]))
    forbid(path)
    (found,) = classifier.predict([Post("1", "fine", path)], "blank")
    assert "permission denied" in found.problem
    assert found.label is not None
