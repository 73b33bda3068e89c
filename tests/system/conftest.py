"""Running the command line as a person does."""

import sys

import pytest
import yaml

from mvcn.cli import main
from tests.system.accessibility import CHROMIUM, FLAGS, axe_violations, faint_texts, faults_of

PHONE_PX = 390
BROKEN = """[...document.images].filter((one) => one.checkVisibility() && !one.naturalWidth)
  .map((one) => one.alt)"""


@pytest.fixture
def mvcn(monkeypatch, capsys):
    """Return a function that runs a command line and gives exit code, output and errors."""
    monkeypatch.setattr("mvcn.cli.process.warnings.filterwarnings", lambda *_, **__: None)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["mvcn", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return stopped.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def fails(mvcn):
    """Return a function that runs a command line that must fail, and gives what it says of it."""

    def run(*arguments):
        code, _, errors = mvcn(*arguments)
        assert code == 2
        begin = f"\n{errors}".rfind("\nError: ")  # a sentence, or a list on several lines
        assert begin >= 0
        message = errors[begin:].strip()
        assert message.endswith((".", "?"))
        assert "Traceback" not in errors
        return message

    return run


@pytest.fixture
def tiny_options(tiny_settings):
    """Options of ``mvcn train`` for one epoch of a tiny model."""
    settings = {f"model.{key}": value for key, value in tiny_settings.items()}
    settings |= {"training.epochs": 1, "training.batch_size": 8, "model.frozen_text_layers": 1}
    settings |= {"training.members": 1, "training.min_steps": 0}
    settings |= {"training.export": False}
    return [option for key, value in settings.items() for option in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def experiment_file(tiny_config, posts_table, tmp_path_factory):
    """Two variants of a tiny model."""
    sections = tiny_config(training={"epochs": 2}).to_mapping()
    data = {"mine": {name: sections["data"][name] for name in ("train", "dev")}}
    base = {name: sections[name] for name in ("model", "objective", "training")}
    del base["training"]["seed"]
    softmax = base | {"model": base["model"] | {"attention": "softmax"}}
    path = tmp_path_factory.mktemp("experiment") / "tiny.yaml"
    variants = {"sparse": base, "soft": softmax}
    content = {"name": "tiny", "seeds": [4], "data": data, "variants": variants}
    path.write_text(yaml.safe_dump(content), "utf-8")
    return path


@pytest.fixture(scope="module")
def browser():
    """Chromium; it is skipped where there is none."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def readable(browser):
    """Return a function that checks a page file: light and dark, at a desk, on a phone, printed."""

    def check(path):
        assert faults_of(path.read_text("utf-8")) == []
        for theme, width, medium in (
            ("light", 1280, "screen"),
            ("dark", PHONE_PX, "screen"),
            ("light", 1000, "print"),
        ):
            page = browser.new_page(color_scheme=theme, viewport={"width": width, "height": 844})
            asked = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.as_uri())
            page.emulate_media(media=medium, color_scheme=theme)
            assert [url[:60] for url in asked if not url.startswith(("data:", "file:"))] == []
            assert faint_texts(page, at_least=20) == []
            assert page.evaluate(BROKEN) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert axe_violations(page) == []
            page.close()

    return check
