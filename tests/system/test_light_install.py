"""Without PyTorch, ``pip install .`` predicts and its extra serves; the rest says what to type."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from importlib.metadata import distribution, distributions
from pathlib import Path

import httpx2
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from mvcn.errors import how_to_install
from mvcn.inference.classifier import Classifier

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow
NEEDS = f"needs the extra 'train': {re.escape(how_to_install('train'))}\\."
NEEDS_SERVE = f"needs the extra 'serve': {re.escape(how_to_install('serve'))}\\."


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source distribution, and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True)
    return folder


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    """An environment with the package and what it depends on, and nothing else of this one.

    To unpack the dependencies again would take long: they are links to those of this environment.
    """
    folder = tmp_path_factory.mktemp("light") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin/python", "install", "--quiet"]
    subprocess.run([*pip, "--no-compile", "--no-deps", *built.glob("*.whl")], check=True)
    (packages,) = folder.glob("lib/*/site-packages")
    link_dependencies(packages)
    return folder / "bin"


@pytest.fixture(scope="module")
def serving_environment(environment, tmp_path_factory):
    """A copy of that environment, with the extra ``serve``."""
    folder = tmp_path_factory.mktemp("serve") / "environment"
    shutil.copytree(environment.parent, folder, symlinks=True)
    (packages,) = folder.glob("lib/*/site-packages")
    link_dependencies(packages, "serve")
    return folder / "bin"


def link_dependencies(packages, *extras):
    """Link those of this environment that the package there needs and it does not have."""
    (package,) = distributions(name="mvcn", path=[str(packages)])
    for dependency in dependencies(package, extras):
        for name in {path.parts[0] for path in dependency.files} - {"..", "__pycache__"}:
            if not (packages / name).exists():
                (packages / name).symlink_to(dependency.locate_file(name))


def dependencies(package, extras):
    """Return all distributions that pip would install with one and its extras."""
    found, pending = {}, [(package, {"", *extras})]
    while pending:
        one, extras = pending.pop()
        for needed in map(Requirement, one.requires or ()):
            marker = needed.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in extras):
                continue
            name = canonicalize_name(needed.name)
            is_new = name not in found
            dependency = found.setdefault(name, distribution(name))
            assert dependency.version in needed.specifier
            if is_new or needed.extras:
                pending.append((dependency, {"", *needed.extras}))
    return found.values()


@pytest.fixture(scope="module")
def run_in(environment):
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command):
        program = [environment / command[0], *command[1:]]
        return subprocess.run(program, capture_output=True, text=True, env=variables)

    return run


def test_distributions_hold_the_package_and_nothing_of_this_machine(built):
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = {name for name in archive.namelist() if not name.startswith("mvcn-")}
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    tracked = subprocess.run(
        ["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    package = {name.removeprefix("src/") for name in tracked if name.startswith("src/mvcn/")}
    assert in_wheel == package
    assert {f"src/{name}" for name in package} < in_source
    assert in_source <= {*tracked, "PKG-INFO"}


def test_there_is_no_pytorch(run_in):
    for name in ("torch", "transformers", "sklearn", "scipy", "pandas", "onnx"):
        assert "ModuleNotFoundError" in run_in("python", "-c", f"import {name}").stderr


def test_a_table_gets_the_probabilities_of_pytorch(run_in, exported_run, posts_table, tmp_path):
    output = tmp_path / "out.csv"
    table = posts_table / "dev/posts.csv"
    done = run_in("mvcn", "predict", exported_run, table, "--output", output)
    assert done.returncode == 0, done.stderr
    with output.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classifier = Classifier.from_pretrained(exported_run, "torch")
    names = [f"probability_{name}" for name in classifier.class_names]
    found = [[float(row[name]) for name in names] for row in rows]
    posts = [(row["text"], posts_table / "dev" / row["image"]) for row in rows]
    expected = [[*classifier.predict_one(*post).probabilities.values()] for post in posts]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_job_over_parquet_runs(run_in, exported_run, posts_table, tmp_path):
    program = "import sys, pyarrow.csv as c, pyarrow.parquet as p; "
    program += "p.write_table(c.read_csv(sys.argv[1]).select(['id', 'text']), sys.argv[2])"
    posts = tmp_path / "posts.parquet"
    assert run_in("python", "-c", program, posts_table / "dev/posts.csv", posts).returncode == 0
    done = run_in("mvcn", "bulk", exported_run, posts, "--output", tmp_path / "job", "--jobs", "1")
    assert "Wrote 16 predictions and 0 errors for 16 rows" in done.stdout, done.stderr


@pytest.fixture
def client(serving_environment, exported_run):
    command = [serving_environment / "python", "-m", "mvcn", "serve", exported_run, "--port", "0"]
    process = subprocess.Popen(command, stdout=-3, stderr=-1, text=True)
    try:
        port = re.search(r":(\d+) \(", process.stderr.readline())[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            while not client.get("/ready").is_success:
                time.sleep(0.05)
            yield client
    finally:
        process.terminate()
        _, told = process.communicate(timeout=60)
    assert process.returncode == 0, told


def test_the_service_answers_and_shows_its_page(client):
    assert client.get("/health").is_success
    assert "<html" in client.get("/").text
    answer = client.post("/predict", files={"text": (None, "what a lovely day")})
    assert answer.json()["predictions"][0]["label"]
    assert "torch" not in client.get("/model").json()["versions"]
    refused = client.post("/explain", files={"text": (None, "what a lovely day")})
    assert refused.status_code == 501
    assert re.fullmatch(f"An explanation {NEEDS}", refused.json()["error"])


COMMANDS = [
    ["train", "posts.csv", "--output", "run"],
    ["audit", "--root", "{posts}"],
    ["evaluate", "{run}", "--root", "{posts}"],
    ["explain", "{run}", "--output", "out"],
    ["report", "{run}"],
    ["export", "{run}", "--overwrite"],
    ["predict", "{run}", "--text", "fine", "--backend", "torch"],
    ["demo", "--output", "demo"],
]
EACH_COMMAND = """
import json, sys
from mvcn.cli import main
for command in json.loads(sys.argv[1]):
    sys.argv = ["mvcn", *command]
    try:
        main()
    except SystemExit as stopped:
        print(stopped.code)
"""


def test_what_needs_more_says_what_to_type(run_in, exported_run, posts_table):
    places = {"run": str(exported_run), "posts": str(posts_table)}
    given = [[part.format_map(places) for part in command] for command in COMMANDS]
    done = run_in("python", "-c", EACH_COMMAND, json.dumps(given))
    assert done.stdout.split() == ["2"] * len(COMMANDS)
    subjects = [f"mvcn {name}" for name, *_ in COMMANDS]
    subjects[-2] = "The backend torch"
    for subject, line in zip(subjects, done.stderr.splitlines(), strict=True):
        assert re.fullmatch(f"Error: {subject} {NEEDS}", line), line


def test_the_service_says_what_to_type(run_in, exported_run):
    done = run_in("mvcn", "serve", exported_run, "--port", "0")
    assert done.returncode == 2
    assert re.fullmatch(f"Error: mvcn serve {NEEDS_SERVE}\n", done.stderr), done.stderr


def test_a_job_by_pytorch_leaves_nothing(run_in, exported_run, tmp_path):
    output = tmp_path / "job"
    posts = ("posts.parquet", "--output", output, "--backend", "torch")
    done = run_in("mvcn", "bulk", exported_run, *posts)
    assert re.fullmatch(f"Error: The backend torch {NEEDS}\n", done.stderr), done.stderr
    assert not output.exists()


def test_a_precision_is_chosen_without_scipy(run_in, exported_run):
    done = run_in("mvcn", "predict", exported_run, "--text", "fine", "--precision", "0.001")
    assert done.returncode == 0, done.stderr
    assert "Labels need a probability of" in done.stderr


def test_what_is_no_run_is_named(run_in, tmp_path):
    for place, message in (
        (tmp_path, f"{tmp_path} is not a run folder"),
        (tmp_path / "nowhere", f"There is no folder {tmp_path / 'nowhere'}"),
    ):
        done = run_in("mvcn", "predict", place, "--text", "fine")
        assert done.returncode == 2
        assert message in done.stderr


def test_a_missing_image_is_named(run_in, exported_run, tmp_path):
    (tmp_path / "posts.csv").write_text("text,image\nfine,a.png\nbad,\n", "utf-8")
    done = run_in("mvcn", "predict", exported_run, tmp_path / "posts.csv", "--output", "out.csv")
    assert done.returncode == 2
    assert "a.png cannot be opened" in done.stderr


def test_in_python_too(run_in):
    done = run_in("python", "-c", "from mvcn import MvcnForClassification")
    assert re.search(f"mvcn.MvcnForClassification {NEEDS}", done.stderr)
    assert "mvcn.errors.MissingExtraError" in done.stderr


def test_a_run_without_graphs_says_where_to_write_them(run_in, tiny_run):
    done = run_in("mvcn", "predict", tiny_run, "--text", "fine")
    assert done.returncode == 2
    reason = r"it has no ONNX graphs \(mvcn export writes them where PyTorch is installed\), and"
    assert re.fullmatch(f"Error: .* since {reason} {NEEDS}\n", done.stderr), done.stderr
