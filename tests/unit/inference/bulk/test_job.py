"""A job's output has each row of its input once, with the classifier's own scores."""

import json
import resource
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from filelock import FileLock

from mvcn.data.datasets.webdataset import TarRows
from mvcn.errors import ConfigError, DataError, RunError
from mvcn.inference.bulk import job
from mvcn.inference.bulk.job import predict_in_bulk
from mvcn.inference.bulk.workers import Scoring, attempt
from mvcn.inference.classifier import Classifier
from mvcn.types import Post


def here(scoring, its, jobs, prepare):
    """An engine without processes."""
    for shard in its:
        yield attempt(scoring, shard)


@pytest.fixture(autouse=True)
def _engine(monkeypatch):
    monkeypatch.setitem(job.ENGINES, "local", here)


@pytest.fixture(scope="module")
def posts(generated_posts):
    """24 posts in two files, some of them bad."""
    rows = [
        {"id": post.id, "text": post.text, "image": post.image, "user": number}
        for number, post in enumerate(generated_posts[:24])
    ]
    rows[3]["image"] = rows[3]["image"][:500]
    rows[5]["id"] = rows[6]["id"]
    rows[9]["id"] = None
    rows[12] |= {"text": " ", "image": None}
    rows[15]["image"] = b"not an image"
    rows[15]["id"] = rows[14]["id"]
    return rows


BAD = {4: "damaged", 10: "'id' is empty", 13: "neither text nor image", 16: "not an image"}
"""Row number in the input as a whole -> what is wrong with it."""


@pytest.fixture(scope="module")
def folder(posts, tmp_path_factory):
    place = tmp_path_factory.mktemp("parquet")
    write(place / "one.parquet", posts[:14])
    write(place / "two/two.parquet", posts[14:])
    write(place / "two/zero.parquet", posts[:0])
    return place


SCHEMA = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("image", pa.binary()), ("user", pa.int16())]
)


def write(path, rows):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path, row_group_size=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_run):
    return shutil.copytree(tiny_run, tmp_path_factory.mktemp("bulk") / "run")


@pytest.fixture
def predict(run, folder, tmp_path):
    def start(place=folder, output=tmp_path / "job", overwrite=False, **settings):
        scoring = Scoring(run, output, rows_a_shard=8, **settings)
        return predict_in_bulk(
            scoring, [str(place)], "local", overwrite=overwrite, initializer=lambda: None
        )

    return start


def rows_of(folder):
    return [row for path in sorted(folder.glob("*")) for row in pq.read_table(path).to_pylist()]


def test_each_row_is_once_in_the_output_with_the_scores_of_the_classifier(
    predict, posts, run, tmp_path
):
    done = predict(keep=("user",))
    assert (done.rows, done.predictions, done.errors, done.shards) == (24, 20, 4, 5)
    good, bad = rows_of(tmp_path / "job/predictions"), rows_of(tmp_path / "job/errors")
    first = {"one.parquet": 0, "two/two.parquet": 14}
    assert {first[row["file"]] + row["row"]: row["reason"] for row in bad}.keys() == BAD.keys()
    for row in bad:
        number = first[row["file"]] + row["row"]
        assert BAD[number] in row["reason"]
        assert row["id"] == posts[number - 1]["id"]
    numbers = [first[row["file"]] + row["row"] for row in good]
    assert numbers == [number for number in range(1, 25) if number not in BAD]
    chosen = [posts[number - 1] for number in numbers]
    assert [(row["id"], row["user"]) for row in good] == [(p["id"], p["user"]) for p in chosen]
    expected = Classifier.from_pretrained(run).predict(
        [Post(str(p["user"]), p["text"], p["image"]) for p in chosen]
    )
    for row, prediction in zip(good, expected, strict=True):
        assert row["label"] == prediction.label
        scores = [row[f"probability_{name}"] for name in prediction.probabilities]
        np.testing.assert_allclose(scores, [*prediction.probabilities.values()], atol=1e-5)


def test_a_finished_job_does_nothing_and_a_lost_shard_is_scored_again(predict, tmp_path):
    predict()
    before = {path: path.read_bytes() for path in (tmp_path / "job").rglob("*.parquet")}
    assert len(before) == 10
    assert predict().shards_scored_now == 0
    lost, cut, *_ = sorted((tmp_path / "job/predictions").iterdir())
    lost.unlink()
    cut.write_bytes(cut.read_bytes()[:100])
    (tmp_path / "job/errors/old.parquet.elsewhere-7.partial").write_bytes(b"half")
    assert predict().shards_scored_now == 2
    assert {p: p.read_bytes() for p in (tmp_path / "job").rglob("*.p*")} == before
    assert predict(overwrite=True).shards_scored_now == 5


def test_texts_that_are_not_read_are_counted_over_all_shards(predict, posts, tmp_path, caplog):
    place = tmp_path / "texts"
    rows = [row | {"id": str(number), "image": None} for number, row in enumerate(posts)]
    for number in (3, 11, 13):
        rows[number]["text"] = "all is well " * 9
    rows[20]["text"] = "\u6211\u559c\u6b22"
    place.mkdir()
    write(place / "texts.parquet", rows)
    found = predict(place).text_counts
    assert (found.texts, found.truncated, found.unknown_word_pieces) == (23, 3, 3)
    assert found.max_tokens == 64
    assert predict(place).text_counts == found  # a finished job, whose shards were counted before
    summary = json.loads((tmp_path / "job/summary.json").read_text())
    assert summary["text_counts"]["truncated"] == 3
    assert caplog.messages == []


def test_a_job_goes_on_only_as_it_was_begun(predict, run, folder, tmp_path):
    predict()
    manifest = json.loads((tmp_path / "job/manifest.json").read_text())
    assert manifest["rows"] == sum(source["rows"] for source in manifest["inputs"]) == 24
    with pytest.raises(RunError, match=r"started with other settings \(min_probability\)"):
        predict(min_probability=0.5)
    with pytest.raises(RunError, match=r"started with other settings \(input\)"):
        predict(folder / "one.parquet")
    (run / "tokenizer_config.json").write_text(
        (run / "tokenizer_config.json").read_text().replace("128", "127")
    )
    with pytest.raises(
        RunError, match=r"started with other settings \(model\): use .* --overwrite\."
    ):
        predict()
    assert predict(overwrite=True, min_probability=0.5).shards_scored_now == 5


def test_two_jobs_and_other_files_are_kept_apart(predict, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    with pytest.raises(RunError, match="holds other files"):
        predict(output=tmp_path / "mine", overwrite=True)
    with pytest.raises(RunError, match="is a file"):
        predict(output=tmp_path / "mine/thesis.txt", overwrite=True)
    (tmp_path / "job").mkdir()
    with (
        FileLock(tmp_path / "job/lock"),
        pytest.raises(RunError, match="is being written by another process"),
    ):
        predict()


def test_a_full_disk_leaves_no_half_shard_and_the_job_goes_on(predict, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot be written .* resumes at this shard"):
            predict()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "job/predictions").iterdir()) == []
    assert [p.suffix for p in (tmp_path / "job/errors").iterdir()] in ([], [".parquet"])
    assert predict().predictions == 20


def test_a_broken_file_is_named_before_anything_is_scored(predict, folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "in")
    broken = place / "two/two.parquet"
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"two\.parquet cannot be read as Parquet"):
        predict(place)
    assert not (tmp_path / "job").exists()


def test_a_table_of_another_format_is_refused_in_our_own_words(predict, posts_table, tmp_path):
    table = posts_table / "dev/posts.csv"
    with pytest.raises(DataError) as caught:
        predict(table)
    assert str(caught.value) == (
        f"{table} is damaged or not a Parquet file: write the posts as Parquet, or use mvcn "
        "predict without --engine."
    )


def test_damage_behind_a_footer_costs_its_own_shard_alone(predict, folder, tmp_path):
    place = shutil.copytree(folder, tmp_path / "in")
    broken = place / "two/two.parquet"
    content = bytearray(broken.read_bytes())
    content[4:40] = b"\xff" * 36
    broken.write_bytes(content)
    for _ in range(2):
        with pytest.raises(DataError, match=r"1 of 5 shards were not scored: .*two\.parquet"):
            predict(place)
        assert len(list((tmp_path / "job/predictions").iterdir())) == 4
    shutil.copy(folder / "two/two.parquet", broken)
    assert predict(place).shards_scored_now == 1


def test_a_file_that_changes_while_the_job_runs_is_named(predict, folder, tmp_path, monkeypatch):
    place = shutil.copytree(folder, tmp_path / "in")

    def slow(scoring, its, jobs, prepare):
        shutil.copy(place / "two/two.parquet", place / "one.parquet")
        return here(scoring, its, jobs, prepare)

    monkeypatch.setitem(job.ENGINES, "local", slow)
    with pytest.raises(DataError, match=r"2 of 5 shards .*one\.parquet was changed while"):
        predict(place)


def test_a_job_never_reads_its_own_output(predict, folder, tmp_path):
    with pytest.raises(RunError, match="would read its own predictions"):
        predict(output=folder / "new/job")
    assert not (folder / "new").exists()
    place = shutil.copytree(folder, tmp_path / "in")
    predict(f"{place}/**/*.parquet", output=place / "job")
    with pytest.raises(RunError, match="would read its own predictions"):
        predict(f"{place}/**/*.parquet", output=place / "job")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": (("text", "tweet"),)}, r"one\.parquet has no column 'tweet' for 'text'"),
        ({"columns": (("text", "user"), ("image", "id"))}, None),
        ({"keep": ("users",)}, "has no column 'users'"),
        ({"keep": ("user", "user")}, "--keep has the column .* twice"),
        ({"keep": ("label",)}, "is not possible"),
        ({"backend": "onnx"}, "no .*model.onnx"),
    ],
)
def test_columns_that_do_not_fit_are_named_before_anything_is_scored(
    predict, tmp_path, settings, message
):
    if message is None:
        assert predict(**settings).errors == 24
        return
    with pytest.raises((ConfigError, DataError, RunError), match=message):
        predict(**settings)
    assert not (tmp_path / "job").exists()


@pytest.fixture(scope="module")
def shards(posts, tmp_path_factory):
    """The posts as WebDataset shards of 14 and 10, with tables next to them as img2dataset has."""
    place = tmp_path_factory.mktemp("shards")
    for name, rows in (("00000", posts[:14]), ("00001", posts[14:]), ("00002", [])):
        with webdataset.TarWriter(str(place / f"{name}.tar")) as writer:
            for number, post in enumerate(rows):
                sample = {"txt": post["text"]} | ({"png": post["image"]} if post["image"] else {})
                fields = {"caption": "another", "user": post["user"], "label": float("nan")}
                writer.write(sample | {"__key__": f"{number:04d}", "json": json.dumps(fields)})
        write(place / f"{name}.parquet", rows)
    return place


def test_each_sample_of_a_shard_is_once_in_the_output_with_the_same_scores(
    predict, shards, posts, tmp_path
):
    predict(output=tmp_path / "parquet", keep=("user",))
    expected = rows_of(tmp_path / "parquet/predictions")
    for place in (shards, shards / "*.tar", shards / "{00000..00002}.tar"):
        done = predict(place, overwrite=True, keep=("user", "caption"))
        assert (done.rows, done.predictions, done.errors, done.shards) == (24, 21, 3, 3)
        good, bad = rows_of(tmp_path / "job/predictions"), rows_of(tmp_path / "job/errors")
        first = {"00000.tar": 0, "00001.tar": 14}
        failed = {first[row["file"]] + row["row"]: row["reason"] for row in bad}
        assert list(failed) == [4, 13, 16]  # a sample always has an id
        assert all(BAD[number] in reason for number, reason in failed.items())
        assert [row["id"] for row in bad] == ["0003", "0012", "0001"]
        assert {row["caption"] for row in good} == {"another"}
        scores = {int(row["user"]): row for row in good}
        for row in expected:
            same = scores[row["user"]]
            for name in ("label", *(name for name in row if name.startswith("probability"))):
                assert same[name] == pytest.approx(row[name], abs=1e-6)


def test_a_job_over_shards_goes_on_where_it_was(predict, shards, tmp_path):
    predict(shards)
    before = {path: path.read_bytes() for path in (tmp_path / "job").rglob("*.parquet")}
    assert predict(shards).shards_scored_now == 0
    next((tmp_path / "job/predictions").iterdir()).unlink()
    assert predict(shards).shards_scored_now == 1
    assert {p: p.read_bytes() for p in (tmp_path / "job").rglob("*.parquet")} == before
    place = shutil.copytree(shards, tmp_path / "in")
    with webdataset.TarWriter(str(place / "00002.tar")) as writer:
        writer.write({"__key__": "new", "txt": b"text"})
    with pytest.raises(RunError, match=r"started with other settings \(input\)"):
        predict(place)


def test_a_shard_that_is_not_whole_is_named_before_anything_is_scored(predict, shards, tmp_path):
    place = shutil.copytree(shards, tmp_path / "in")
    (place / "00001.tar").write_bytes((shards / "00001.tar").read_bytes()[:9000])
    with pytest.raises(DataError, match=r"00001\.tar is damaged or incomplete after its file 0"):
        predict(place)
    assert not (tmp_path / "job").exists()


def test_a_shard_that_changes_while_the_job_runs_is_named(predict, shards, tmp_path, monkeypatch):
    place = shutil.copytree(shards, tmp_path / "in")
    read = TarRows.batches

    def slow(self, *arguments):
        for batch in read(self, *arguments):
            yield batch
            (place / "00001.tar").touch()

    monkeypatch.setattr(TarRows, "batches", slow)
    with pytest.raises(DataError, match=r"1 of 3 shards .*00001\.tar was changed while the job"):
        predict(place)
    assert len(list((tmp_path / "job/predictions").iterdir())) == 2


def test_columns_of_shards_that_do_not_fit_are_named(predict, shards):
    with pytest.raises(DataError, match=r"00000\.tar has no column 'users'"):
        predict(shards / "00000.tar", keep=("users",))
    with pytest.raises(DataError, match=r"00000\.tar has no column 'tweet' for 'text'"):
        predict(shards / "00000.tar", columns=(("text", "tweet"),))


def test_a_field_can_be_the_text_of_shards(predict, shards, tmp_path):
    predict(shards / "00000.tar", columns=(("text", "caption"),), output=tmp_path / "captions")
    predict(shards / "00000.tar", output=tmp_path / "texts")
    by_caption = rows_of(tmp_path / "captions/predictions")
    by_text = rows_of(tmp_path / "texts/predictions")
    assert by_caption != by_text
    assert len(by_caption) == len(by_text) + 1  # the post without a text has a caption
