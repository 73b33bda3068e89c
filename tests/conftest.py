"""Settings of all tests: no network, reproducible examples, tiny encoders, generated posts."""

import gc
import logging
import os
import shutil
import socket
import string
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import settings

from tests import annotations

annotations.check()

# Before anything imports a library that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side, on tiny models

# It warns when it is first imported, which would be an error within a test.
import torch  # noqa: E402

settings.register_profile("mvcn", deadline=None, derandomize=True)
settings.load_profile("mvcn")


# What libraries and tests consist of is never garbage, and to look it through takes seconds.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    if item.get_closest_marker("timm") and find_spec("timm") is None:
        pytest.skip("timm is not installed: run make timm")


def pytest_collection_finish():
    gc.enable()
    _keep_what_is_there()


@pytest.fixture(autouse=True, scope="module")
def _keep_what_was_imported():
    yield
    _keep_what_is_there()


def _keep_what_is_there():
    gc.collect()
    gc.freeze()


LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def _no_network():
    """Fail a test that connects to another computer."""
    with pytest.MonkeyPatch.context() as patch:
        for method in ("connect", "connect_ex"):
            patch.setattr(socket.socket, method, _local_only(getattr(socket.socket, method)))
        yield


def _local_only(connect):
    def guarded(self, address):
        if self.family != socket.AF_UNIX and address[0] not in LOOPBACK:
            raise RuntimeError(f"A test tried to connect to {address}: tests run without network.")
        return connect(self, address)

    return guarded


@pytest.fixture(autouse=True, scope="session")
def _own_cache(shared):
    """Keep the features of frozen encoders out of the cache of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MVCN_CACHE", str(shared("cache", lambda _: None)))
        yield


@pytest.fixture(autouse=True)
def _log_as_imported():
    """Take back what a command of an earlier test has set for its whole process."""
    logger = logging.getLogger("mvcn")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


PENALTIES = "mvcn.training.linear.INVERSE_PENALTIES", (1e-3, 1e-2)


@pytest.fixture(autouse=True, scope="session")
def few_penalties():
    """Let linear models choose among two penalties; tests of the choice restore all of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*PENALTIES)
        yield patch


@pytest.fixture(scope="module")
def all_penalties(few_penalties):
    few_penalties.undo()
    yield
    few_penalties.setattr(*PENALTIES)


NOBODY = 65534
"""Number of a user who owns nothing."""
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """Return a function that makes a folder once for all processes of pytest-xdist."""
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place

    def folder_of(name, make):
        folder, finished = place / "shared" / name, place / "shared" / f"{name}.finished"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if not finished.exists():
                folder.mkdir()
                make(folder)
                finished.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def tiny_text_encoder(shared):
    """Folder of a random BERT of 2 layers whose word pieces are single characters."""
    return shared("tiny-bert", _save_text_encoder)


def _save_text_encoder(folder):
    import transformers  # takes seconds, which few tests need

    letters = string.ascii_lowercase + string.digits + string.punctuation
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, model_max_length=128)
    tokenizer.save_pretrained(folder)
    sizes = {**TINY, "intermediate_size": 48, "max_position_embeddings": 128}
    torch.manual_seed(1)
    config = transformers.BertConfig(vocab_size=len(pieces), **sizes)
    transformers.BertModel(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_image_encoder(shared):
    """Folder of a random ViT of 2 layers, with 7 objects, that sees 4 x 4 patches of 8 pixels."""
    return shared("tiny-vit", _save_image_encoder)


def _save_image_encoder(folder):
    import transformers  # takes seconds, which few tests need
    from transformers.models.vit import ViTImageProcessorPil

    sizes = {**TINY, "intermediate_size": 48, "image_size": 32, "patch_size": 8}
    torch.manual_seed(2)
    names = {number: f"thing {number}" for number in range(7)}
    config = transformers.ViTConfig(**sizes, id2label=names)
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_settings(tiny_text_encoder, tiny_image_encoder):
    """Settings of `ModelConfig` that make any recipe's model tiny."""
    return {
        "text_encoder": str(tiny_text_encoder),
        "image_encoder": str(tiny_image_encoder),
        "hidden_size": 24,
        "feedforward_size": 32,
        "num_heads": 2,
    }


@pytest.fixture(scope="session")
def generated_posts():
    """48 posts with labels, as `mvcn.data.synthetic` makes them."""
    from mvcn.data.synthetic import generate_posts

    return [generated.post for generated in generate_posts(48, seed=3)]


@pytest.fixture(scope="session")
def posts_table(shared):
    """Folder with ``train/posts.csv`` (32 posts) and ``dev/posts.csv`` (16 posts), with images."""
    from mvcn.data.synthetic import generate_posts, write_table

    def write(folder):
        posts = generate_posts(48, seed=3)
        write_table(posts[:32], folder / "train")
        write_table(posts[32:], folder / "dev")

    return shared("posts", write)


@pytest.fixture(scope="session")
def mvsa_with_folds(shared, generated_posts):
    """Folder with ``MVSA_Single`` and two published folds of it in ``FAIR/mvsa_single``.

    Posts 1 to 48 are those of `generated_posts`, and text and image of post 49 contradict each
    other. The folds list 47 to 1, then 49, and 50, which does not exist: of that, the ten after the
    first 10 K are the test posts of fold K, and the next ten val. They call post 1 negative, its
    text neutral, and the image of post 2 neutral.
    """

    def write(folder):
        numbered = {str(number): post for number, post in enumerate(generated_posts, 1)}
        data, fair = folder / "MVSA_Single" / "data", folder / "FAIR" / "mvsa_single"
        data.mkdir(parents=True)
        for post_id, post in numbered.items():
            (data / f"{post_id}.txt").write_text(post.text)
            (data / f"{post_id}.png").write_bytes(post.image)
        rows = [f"{one}\t{post.text_label},{post.image_label}" for one, post in numbered.items()]
        lines = ["ID\ttext,image", *rows, "49\tpositive,negative"]
        (data.parent / "labelResultAll.txt").write_text("\n".join([*lines, ""]))
        numbers = {"neutral": 0, "positive": 1, "negative": 2}
        labels = {
            one: [numbers[name] for name in (post.label, post.text_label, post.image_label)]
            for one, post in numbered.items()
        }
        labels |= {"1": [2, 0, 2], "2": [*labels["2"][:2], 0], "49": [1, 1, 2], "50": [0, 0, 0]}
        listed = [*map(str, range(47, 0, -1)), "49", "50"]
        pairs = [",".join(map(str, [one, *labels[one]])) for one in listed]
        (fair / "splits").mkdir(parents=True)
        (fair / "valid_pairlist.txt").write_text("\n".join([*pairs, ""]))
        for fold in (1, 2):
            order = [*range(10 * fold, len(listed)), *range(10 * fold)]
            splits = {"test": order[:10], "val": order[10:20], "train": order[20:]}
            for name, chosen in splits.items():
                lines = "".join(f"{line}\n" for line in chosen)
                (fair / "splits" / f"{name}_{fold}.txt").write_text(lines)

    return shared("mvsa-with-folds", write)


@pytest.fixture(scope="session")
def tiny_config(tiny_settings, posts_table):
    """Return a function from changes like ``training={"epochs": 1}`` to settings of a tiny run."""
    from mvcn.config import RunConfig

    usual = {
        "data": {
            "train": str(posts_table / "train" / "posts.csv"),
            "dev": str(posts_table / "dev" / "posts.csv"),
        },
        "model": tiny_settings,
        "objective": {"queue_size": 20},
        "training": {
            "epochs": 3,
            "batch_size": 8,
            "eval_batch_size": 16,
            "patience": 99,
            "fusion_learning_rate": 3e-3,
            "encoder_learning_rate": 1e-3,
            "export": False,
        },
    }

    def build(**changes):
        return RunConfig.from_mapping(
            {name: values | changes.get(name, {}) for name, values in usual.items()}
        )

    return build


@pytest.fixture(scope="session")
def tiny_run(shared, tiny_config):
    """Run folder of a finished run; tests that change it work on a copy."""
    from mvcn.training.run import train

    return shared("runs/tiny", lambda folder: train(tiny_config(), folder))


@pytest.fixture(scope="session")
def exported_run(shared, tiny_run):
    """The same with graphs; tests that change it work on a copy."""
    from mvcn.training.export import export_run
    from mvcn.training.run_folder import Run

    def export(folder):
        shutil.copytree(tiny_run, folder, dirs_exist_ok=True)
        export_run(Run(folder))

    return shared("runs/exported", export)


@pytest.fixture(scope="session")
def tiny_ensemble(shared, tiny_config):
    """Run folder of two members without dev posts; tests that change it work on a copy."""
    from mvcn.training.run import train

    config = tiny_config(
        data={"dev": None},
        model={"frozen_text_layers": 1},
        training={"members": 2, "epochs": 1},
    )
    return shared("runs/ensemble", lambda folder: train(config, folder))


@pytest.fixture
def place():
    """A folder that everyone may enter, as the folders of tests are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def forbid():
    """Return a function that sets permissions; root obeys none, so a user who owns nothing asks."""
    is_root = os.geteuid() == 0
    changed = {}

    def forbid_all_but(path, mode=0):
        changed[path] = path.stat().st_mode
        path.chmod(mode)
        if is_root:
            os.seteuid(NOBODY)

    yield forbid_all_but
    if is_root:
        os.seteuid(0)
    for path, mode in changed.items():
        path.chmod(mode)
