"""The page of the service in a real browser: mouse, keyboard, phone, light and dark."""

import json
import re
import shutil
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import expect

import mvcn.serve
from mvcn.serve.answering import ServedRun
from mvcn.serve.application import create_app
from mvcn.serve.limits import Limits
from mvcn.serve.server import listen
from tests.system.accessibility import CHROMIUM, faint_texts

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
KEY = "open-sesame"
LIMITS = Limits(text_characters=200, body_bytes=200_000, pixels=200_000)
MARKUP = "<img src=x onerror=alert(1)>"
PROVOKED = re.compile("status of (401|422|429|503)|net::ERR_INTERNET_DISCONNECTED")
"""What the browser itself tells of refusals that the tests provoke."""
EXAMPLES = Path(mvcn.serve.__file__).parent / "page" / "examples"


@pytest.fixture(scope="module")
def served(tiny_run, tmp_path_factory):
    """A run whose classes have names that are markup."""
    folder = shutil.copytree(tiny_run, tmp_path_factory.mktemp("runs") / "run")
    config = json.loads((folder / "config.json").read_text())
    names = [f"{name} {MARKUP}" for name in config["id2label"].values()]
    config["id2label"] = {str(number): name for number, name in enumerate(names)}
    config["label2id"] = {name: number for number, name in enumerate(names)}
    (folder / "config.json").write_text(json.dumps(config))
    return ServedRun(folder)


@pytest.fixture(scope="module")
def address(served):
    with running(create_app(served, LIMITS)) as address:
        yield address


@contextmanager
def running(app):
    """Serve an application next to the tests."""
    with listen("127.0.0.1", 0) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while app.state.answering.state == "loading":
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def visit(browser):
    """Return a function that opens a page; it must ask no other host and log no error."""
    pages, hosts, complaints = [], set(), []

    def opened(address, **settings):
        context = browser.new_context(**settings)
        context.set_default_timeout(10_000)
        page = context.new_page()
        context.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.goto(address)
        pages.append(page)
        return page

    yield opened
    for page in pages:
        page.context.close()
    assert [complaint for complaint in complaints if not PROVOKED.search(complaint)] == []
    assert {host.partition(":")[0] for host in hosts} <= {"127.0.0.1", ""}


@pytest.fixture
def page(visit, address):
    page = visit(address)
    expect(page.locator("#facts")).to_have_text("mvcn, 3 classes")
    return page


@pytest.fixture(scope="module")
def picture(generated_posts, tmp_path_factory):
    """A small image file."""
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    path.write_bytes(generated_posts[0].image)
    return path


def predict(page, text="", image=None):
    """Fill the form, press the button, and wait for the class."""
    page.get_by_label("Text").fill(text)
    if image is not None:
        page.locator("#file").set_input_files(image)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answered")).to_be_visible()


def shown(page):
    """Class -> probability, as the bars say it."""
    rows = page.locator(".bar").all()
    texts = [row.locator("span:not(.track)").all_inner_texts() for row in rows]
    return {name: float(re.sub("[<>% ]", "", chance)) / 100 for name, chance in texts}


def test_an_uploaded_image_and_a_text_are_classified(page, served, picture):
    predict(page, "a lovely day at the lake", picture)
    python = served.classifier.predict_one("a lovely day at the lake", picture)
    assert shown(page) == pytest.approx(dict(python.probabilities), abs=6e-4)
    assert page.locator("#winner .name").inner_text() == python.label
    assert page.locator(".bar.best .name").inner_text() == python.label
    expect(page.get_by_role("status").filter(has_text=python.label)).to_be_visible()
    expect(page.get_by_alt_text("The image of your post")).to_be_visible()


@pytest.mark.parametrize("given", ["text", "image"])
def test_a_text_alone_or_an_image_alone_is_enough(page, served, picture, given):
    text, image = ("a dull day", None) if given == "text" else ("", picture)
    predict(page, text, image)
    python = served.classifier.predict_one(text, image)
    assert shown(page) == pytest.approx(dict(python.probabilities), abs=6e-4)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#reasons")).to_be_focused()
    assert page.locator("#words-part").is_visible() is (given == "text")
    assert page.locator("#map-part").is_visible() is (given == "image")


def test_the_explanation_has_the_words_with_weights_and_the_map(page, served, picture):
    predict(page, "oh what a day, again", picture)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#reasons")).to_be_focused()
    words = page.locator(".word .text").all_inner_texts()
    assert words == ["oh", "what", "a", "day", ",", "again"]
    weights = [text for text in page.locator(".word small").all_inner_texts() if text.strip()]
    assert weights
    assert all(re.fullmatch(r"[+\N{MINUS SIGN}]\d.*", weight) for weight in weights)
    expect(page.locator("#unread")).to_be_hidden()
    sizes = page.locator(".pair img").evaluate_all("all => all.map(one => one.naturalWidth)")
    assert sizes == [224, 224]


def test_a_text_that_is_longer_than_the_model_reads_is_said_to_be(page):
    predict(page, "such a day " * 18)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#unread")).to_contain_text("beyond what the model reads")


def test_a_newer_prediction_ends_the_wait_for_an_explanation(page):
    predict(page, "first")
    page.route("**/explain", lambda route: None)
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    with page.expect_event("requestfailed") as stopped:
        predict(page, "second")
    assert stopped.value.url.endswith("/explain")
    expect(page.get_by_role("progressbar")).to_be_hidden()
    page.get_by_role("button", name="Explain").click()
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Explain")).to_be_focused()


def test_everything_works_by_keyboard(page, picture):
    press = page.keyboard.press
    page.on("filechooser", lambda chooser: chooser.set_files(picture))
    page.get_by_label("Text").focus()
    page.keyboard.type("a fine day")
    press("Tab")
    remove = page.get_by_role("button", name="Remove the image")
    for key in ("Enter", "Space"):
        expect(page.locator("#drop")).to_be_focused()
        press(key)
        expect(remove).to_be_focused()
        if key == "Enter":
            press("Enter")
    press("Control+Enter")
    expect(page.locator("#answered")).to_be_visible()
    press("Enter")
    expect(remove).to_be_hidden()
    expect(page.locator("#stale")).to_have_text(re.compile("has changed"))
    while not page.locator("#explain").evaluate("one => one === document.activeElement"):
        press("Tab")
    press("Enter")
    expect(page.locator("#reasons")).to_be_focused()


def test_an_image_can_be_dropped_and_pasted(page, picture):
    give = """(kind) => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(["x"], kind + ".png", { type: "image/png" }));
      const event = kind === "drop" ? new DragEvent(kind, { dataTransfer: transfer, bubbles: true })
        : new ClipboardEvent(kind, { clipboardData: transfer, bubbles: true });
      document.body.dispatchEvent(event);
    }"""
    for kind in ("drop", "paste"):
        page.evaluate(give, kind)
        expect(page.locator("#file-name")).to_have_text(f"{kind}.png")


def test_an_example_fills_the_post_and_is_classified(page, served):
    example = (
        page.get_by_role("listitem").filter(has_text="A wonderful morning").get_by_role("button")
    )
    text = example.locator("span").inner_text()
    example.click()
    expect(page.locator("#answered")).to_be_visible()
    expect(page.get_by_label("Text")).to_have_value(text)
    python = served.classifier.predict_one(text, EXAMPLES / "glad.jpg")
    assert shown(page) == pytest.approx(dict(python.probabilities), abs=6e-4)


def test_markup_in_texts_and_class_names_is_shown_as_it_is(page, picture):
    predict(page, f"so {MARKUP}", picture)
    expect(page.locator("#winner .name")).to_contain_text(MARKUP)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#reasons")).to_be_focused()
    assert "".join(page.locator(".word .text").all_inner_texts()) == f"so{MARKUP}".replace(" ", "")
    assert page.locator("[onerror]").count() == 0


def test_what_is_wrong_is_said_where_it_is(page, picture, tmp_path):
    text, button = page.get_by_label("Text"), page.get_by_role("button", name="Predict")
    button.click()
    expect(page.locator("#text-problem")).to_have_text("Write a text or choose an image first.")
    expect(text).to_be_focused()
    text.fill("x" * 199 + "\N{SNOWMAN}")
    expect(page.locator("#count")).to_have_text("0 characters left")
    text.fill("x" * 201)
    button.click()
    expect(page.locator("#text-problem")).to_have_text(
        "The text has 1 character too many: shorten it."
    )
    text.fill("fine")
    expect(page.locator("#text-problem")).to_be_hidden()
    files = {"notes.txt": b"hello", "large.png": picture.read_bytes() + bytes(200_000)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        page.locator("#file").set_input_files(tmp_path / name)
        sentence = "is not an image" if name == "notes.txt" else "the server takes up to"
        expect(page.locator("#image-problem")).to_contain_text(sentence)
        expect(page.locator("#chosen")).to_be_hidden()


def test_a_damaged_image_is_named_and_the_text_classified_alone(page, served, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG and nothing else")
    predict(page, "a fine day", damaged)
    expect(page.locator("#image-problem")).to_be_focused()
    expect(page.locator("#image-problem")).to_contain_text("not an image")
    expect(page.locator("#image-note")).to_contain_text("By the text alone")
    python = served.classifier.predict_one("a fine day", None)
    assert shown(page) == pytest.approx(dict(python.probabilities), abs=6e-4)
    page.get_by_label("Text").fill("")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answered")).to_be_hidden()
    expect(page.locator("#image-problem")).to_be_focused()


def test_refusals_and_silence_of_the_server_become_sentences(page):
    busy = {"status": 429, "headers": {"Retry-After": "7"}, "json": {"error": "The queue is full."}}
    page.route("**/predict?*", lambda route: route.fulfill(**busy))
    page.get_by_label("Text").fill("a fine day")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#post-problem")).to_have_text("The queue is full. Try again in 7 s.")
    expect(page.locator("#post-problem")).to_be_focused()
    page.unroute_all()
    page.context.set_offline(True)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#post-problem")).to_contain_text("does not answer")
    page.context.set_offline(False)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#answered")).to_be_visible()
    expect(page.locator("#post-problem")).to_be_hidden()


def test_the_key_is_asked_for_and_kept_for_the_tab_alone(visit, served):
    with running(create_app(served, LIMITS, KEY)) as address:
        page = visit(address)
        for key in ("wrong", KEY):
            page.get_by_label("API key").fill(key)
            page.keyboard.press("Enter")
            if key != KEY:
                expect(page.locator("#key-problem")).to_have_text("The server refused this key.")
        expect(page.get_by_role("dialog")).to_be_hidden()
        predict(page, "a fine day")
        stored = "[Object.values(sessionStorage), Object.values(localStorage), document.cookie]"
        assert page.evaluate(stored) == [[KEY], [], ""]
        page.context.close()


def test_the_page_waits_for_a_model_that_is_being_loaded(visit, address):
    page = visit("about:blank")
    loading = {"status": 503, "json": {"error": "The model is still loading."}}
    page.route("**/ready", lambda route: route.fulfill(**loading), times=1)
    page.goto(address)
    expect(page.locator("#banner")).to_contain_text("The model is still loading.")
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#facts")).to_have_text("mvcn, 3 classes")


@pytest.mark.parametrize("part", ["text", "image"])
def test_a_model_that_reads_one_part_is_given_that_part_alone(visit, address, picture, part):
    page = visit("about:blank")

    def model(route):
        route.fulfill(json=route.fetch().json() | {"reads": [part]})

    page.route("**/model", model)
    page.goto(address)
    expect(page.locator("#lead")).to_have_text(f"This model reads {part}s only.")
    other = "image" if part == "text" else "text"
    expect(page.locator(f"#{other}-field")).to_be_hidden()
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(f"#{part}-problem")).to_be_visible()


def test_many_classes_with_long_names_fit_a_phone(visit, address):
    page = visit(address, viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    names = [f"{'Aesthetically' * (1 + number % 4)} number {number}" for number in range(20)]
    prediction = {
        "label": names[19],
        "probabilities": {name: (1 + number) / 210 for number, name in enumerate(names)},
        "problem": None,
    }
    page.route("**/predict?*", lambda route: route.fulfill(json={"predictions": [prediction]}))
    predict(page, "a fine day")
    assert page.locator(".bar:visible").count() == 6
    page.get_by_role("button", name="Show all 20 classes").click()
    assert page.locator(".bar:visible").count() == 20
    expect(page.locator("#winner")).to_be_in_viewport()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    heights = page.locator("button:visible").evaluate_all("all => all.map(one => one.offsetHeight)")
    assert min(heights) >= 44


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_all_texts_have_contrast(visit, address, picture, theme):
    page = visit(address, color_scheme=theme, reduced_motion="reduce")
    predict(page, "a fine day in the sun", picture)
    page.get_by_role("button", name="Explain").click()
    expect(page.locator("#reasons")).to_be_focused()
    page.get_by_label("Text").fill("x" * 201)
    page.get_by_role("button", name="Predict").click()
    expect(page.locator("#text-problem")).to_be_visible()
    assert faint_texts(page, at_least=30) == []


def test_the_chosen_theme_wins_over_the_systems_and_stays(visit, address):
    page = visit(address, color_scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    dark, toggle = page.evaluate(paper), page.get_by_role("button", name="Dark theme")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    light = page.evaluate(paper)
    assert light != dark
    page.reload()
    expect(toggle).to_have_attribute("aria-pressed", "false")
    assert page.evaluate(paper) == light
    toggle.click()
    assert page.evaluate(paper) == dark


def test_the_page_about_the_api_sends_requests_with_the_key(visit, served, picture):
    with running(create_app(served, LIMITS, KEY)) as address:
        page = visit(f"{address}/docs")
        for summary in page.locator("summary").all():
            summary.click()
        form = page.locator("form.try[data-path='/predict'][data-type^=multipart]")
        send = form.get_by_role("button", name="Send")
        send.click()
        expect(form.locator("output")).to_contain_text("Status 401")
        page.get_by_label("Key of this service").fill(KEY)
        form.get_by_label("image", exact=True).set_input_files(picture)
        send.click()
        expect(form.locator("output")).to_contain_text("Status 200")
        expect(form.locator("output")).to_contain_text('"problem": null')
        posts = page.locator("form.try[data-path='/predict'][data-type='application/json']")
        posts.get_by_label("Body").fill('{"posts": []}')
        posts.get_by_role("button", name="Send").click()
        expect(posts.locator("output")).to_contain_text("Status 422")
        explain = page.locator("form.try[data-path='/explain']")
        explain.get_by_label("image", exact=True).set_input_files(picture)
        explain.get_by_label("Accept").select_option("image/png")
        explain.get_by_role("button", name="Send").click()
        expect(explain.get_by_role("img")).to_be_visible(timeout=30_000)
        page.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_about_the_api_can_be_read_on_a_phone(visit, address, theme):
    page = visit(f"{address}/docs", color_scheme=theme, viewport={"width": 390, "height": 844})
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert faint_texts(page, at_least=100) == []
