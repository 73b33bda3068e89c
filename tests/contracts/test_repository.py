"""Rules about the repository itself that no other tool checks."""

import ast
import functools
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mvcn.config import read_recipe
from scripts.tables import __main__ as tables

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "src" / "mvcn").rglob("*.py"))
SCRIPTS = sorted((ROOT / "scripts").rglob("*.py"))
UNIT_TESTS = sorted((ROOT / "tests" / "unit").rglob("test_*.py"))
RECIPES = sorted((ROOT / "src" / "mvcn" / "recipes").glob("*.yaml"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_FILE_BYTES = 250_000
HEADERS = ("Reproduces:", "Expected result:", "Expected time:", "Command:")
PICKLE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve"}
# The bracketed letters keep these patterns from finding themselves.
FOREIGN_WORDS = re.compile(r"/wor[k]/|\bhelpe[r] session\b", re.IGNORECASE)
TEXT_SUFFIXES = {".py", ".md", ".toml", ".yaml", ".yml", ".cff", ".html", ".css", ".js", ".sh"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def inside(path):
    return str(path.relative_to(ROOT))


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text("utf-8"))


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def undocumented(node, name):
    """Names of public definitions below `node` that have no docstring."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function | ast.ClassDef) and not child.name.startswith("_"):
            inner = f"{name}.{child.name}"
            if ast.get_docstring(child) is None:
                yield inner
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, inner)


def loads_pickles(node):
    """Whether `node` imports a pickle module or lets torch or NumPy read pickles."""
    if isinstance(node, ast.Import):
        return any(alias.name.split(".")[0] in PICKLE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").split(".")[0] in PICKLE_MODULES
    if not isinstance(node, ast.Call):
        return False
    settings = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
    is_load = getattr(node.func, "attr", None) == "load" and ast.unparse(node.func) == "torch.load"
    unsafe_torch = is_load and settings.get("weights_only") is not True
    return unsafe_torch or settings.get("allow_pickle", False) is not False


@pytest.fixture(scope="module")
def tracked_files():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return [path for path in paths if path.is_file() and not path.is_symlink()]


@pytest.mark.parametrize("path", SOURCES, ids=inside)
def test_functions_and_files_are_short(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MAX_FILE_LINES
    lengths = {f.name: f.end_lineno - f.lineno + 1 for f in functions(tree_of(path))}
    assert {n: length for n, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@pytest.mark.parametrize("path", SOURCES, ids=inside)
def test_everything_public_has_a_docstring(path):
    tree = tree_of(path)
    assert list(undocumented(tree, path.stem)) == []
    assert ast.get_docstring(tree) or not tree.body, "the module has no docstring"


@pytest.mark.parametrize("path", SOURCES, ids=inside)
def test_no_pickle_is_loaded(path):
    tree = tree_of(path)
    assert [node.lineno for node in ast.walk(tree) if loads_pickles(node)] == []


@pytest.mark.parametrize(
    ("code", "unsafe"),
    [
        ("import pickle", True),
        ("from joblib import load", True),
        ("torch.load(path)", True),
        ("torch.load(path, weights_only=False)", True),
        ("torch.load(path, weights_only=True)", False),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path, allow_pickle=False)", False),
        ("json.load(file)", False),
    ],
)
def test_the_search_for_pickles_finds_them(code, unsafe):
    assert any(map(loads_pickles, ast.walk(ast.parse(code)))) is unsafe


def test_public_names_exist_and_are_sorted():
    package = import_module("mvcn")
    names = list(getattr(package, "__all__", []))
    # The order that ruff keeps: CONSTANTS, then Classes, then functions.
    order = sorted(set(names), key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert names == order
    assert [name for name in names if not hasattr(package, name)] == []


def test_documented_names_exist():
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"auto(?:function|class|module):: (\S+)", page.read_text("utf-8")):
            pkgutil.resolve_name(name)


@pytest.mark.parametrize("path", RECIPES, ids=inside)
def test_recipes_say_what_to_expect_and_can_be_read(path):
    comments = [line for line in path.read_text("utf-8").splitlines() if line.startswith("#")]
    missing = [h for h in HEADERS if not any(c.lstrip("# ").startswith(h) for c in comments)]
    assert missing == []
    assert read_recipe(path.stem) == read_recipe(str(path))


def test_the_root_shows_the_recipes():
    assert (ROOT / "recipes").resolve() == ROOT / "src" / "mvcn" / "recipes"


def test_tracked_files_are_small(tracked_files):
    sizes = {inside(path): path.stat().st_size for path in tracked_files}
    assert {name: size for name, size in sizes.items() if size > MAX_FILE_BYTES} == {}


def test_tracked_texts_speak_of_this_project_only(tracked_files):
    texts = {inside(path): path.read_bytes().decode("utf-8", "ignore") for path in tracked_files}
    assert [name for name, text in texts.items() if FOREIGN_WORDS.search(text)] == []


def test_tracked_texts_have_clean_line_ends(tracked_files):
    texts = [path for path in tracked_files if path.suffix in TEXT_SUFFIXES]
    contents = {inside(path): path.read_bytes() for path in texts}
    trailing = [name for name, text in contents.items() if re.search(rb"[ \t\r]\n", text)]
    endless = [name for name, text in contents.items() if text and not text.endswith(b"\n")]
    assert (trailing, endless) == ([], [])


@pytest.mark.parametrize("path", SCRIPTS, ids=inside)
def test_scripts_find_what_they_import(path):
    """No other test runs the long ones, which would break in silence."""
    try:
        import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] in {"mvcn", "scripts"}:
            raise
        pytest.skip(f"needs {error.name}, which an extra installs")


def test_tables_show_what_the_results_hold(monkeypatch):
    monkeypatch.chdir(ROOT)
    tables.main(check=True)


@pytest.mark.parametrize("path", UNIT_TESTS, ids=inside)
def test_unit_tests_stand_where_the_module_stands(path):
    """``tests/unit/a/test_b.py``, or ``test_b_aspect.py``, is about ``src/mvcn/a/b.py``."""
    folder = ROOT / "src" / "mvcn" / path.relative_to(ROOT / "tests" / "unit").parent
    name = path.stem.removeprefix("test_")
    modules = [module.stem for module in (*folder.glob("*.py"), *folder.glob("*/"))]
    assert [m for m in modules if name == m or name.startswith(f"{m}_")], f"{folder} has no {name}"


def test_the_dockerfile_has_no_fault_that_its_linter_knows():
    done = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), ROOT / "Dockerfile"], capture_output=True
    )
    assert (done.returncode, done.stdout) == (0, b"")
