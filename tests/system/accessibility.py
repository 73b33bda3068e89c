"""Whether people can read a page: contrast, headings, names of pictures and of parts of a table."""

import json
import os
import re
import shutil
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

CHROMIUM = shutil.which("chromium")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
AXE = os.environ.get("AXE_CORE")
"""Path of ``axe.min.js`` of the npm package axe-core, whose rules are then checked, too."""
AA = 4.5
"""Least contrast of text, by the Web Content Accessibility Guidelines."""
CONTRASTS = """() => {
  const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const paint = (color) => { context.fillStyle = color; context.fillRect(0, 0, 1, 1); };
  const luminance = (colors) => {
    colors.forEach(paint);
    const [red, green, blue] = [...context.getImageData(0, 0, 1, 1).data].map((level) => {
      const share = level / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const grounds = (element) => element
    ? [...grounds(element.parentElement), getComputedStyle(element).backgroundColor] : [];
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    element.checkVisibility() && [...element.childNodes].some((one) => one.nodeType === 3 &&
    one.data.trim()));
  return texts.map((element) => {
    const behind = luminance(grounds(element));
    const before = luminance([...grounds(element), getComputedStyle(element).color]);
    const [low, high] = [behind, before].sort((one, other) => one - other);
    return [element.textContent.trim(), (high + 0.05) / (low + 0.05)];
  });
}"""


def faint_texts(page, at_least):
    """Texts of a page in a browser, and their contrast, if it is too low; it has some texts."""
    texts = page.evaluate(CONTRASTS)
    assert len(texts) > at_least
    return [(text, contrast) for text, contrast in texts if contrast < AA]


def axe_violations(page):
    """What axe-core finds in a page in a browser; nothing if it is not installed."""
    if AXE is None:
        return []
    page.evaluate(Path(AXE).read_text("utf-8"))
    found = page.evaluate("axe.run().then((found) => JSON.stringify(found.violations))")
    return [
        (one["id"], one["help"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in json.loads(found)
    ]


class Markup(HTMLParser):
    """Reads a page and collects what is against the rules."""

    def __init__(self, text):
        super().__init__()
        self.faults, self.ids, self.named, self.tags = [], [], [], Counter()
        self.level = 0
        self.feed(text)
        self.faults += [f"{name} names nothing" for name in {*self.named} - {*self.ids}]
        self.faults += [f"{name} twice" for name, count in Counter(self.ids).items() if count > 1]
        once = ("main", "header", "h1", "title")
        self.faults += [f"{self.tags[tag]} x {tag}" for tag in once if self.tags[tag] != 1]

    def handle_starttag(self, tag, pairs):
        attributes = dict(pairs)
        self.tags[tag] += 1
        if "id" in attributes and "data:" not in tag:
            self.ids.append(attributes["id"])
        self.named += [attributes[key] for key in ("aria-labelledby",) if key in attributes]
        if attributes.get("href", "").startswith("#"):
            self.named.append(attributes["href"][1:])
        needs = {"html": "lang", "img": "alt", "th": "scope"}.get(tag)
        if needs and not attributes.get(needs):
            self.faults.append(f"{tag} without {needs}")
        if tag == "section" and "aria-labelledby" not in attributes:
            self.faults.append("section without a name")
        if attributes.get("role") == "img" and not attributes.get("aria-label"):
            self.faults.append("picture without a name")
        if re.fullmatch("h[1-6]", tag):
            if int(tag[1]) > self.level + 1:
                self.faults.append(f"{tag} after h{self.level}")
            self.level = int(tag[1])


def faults_of(text):
    """What is wrong with the markup of a page."""
    return Markup(re.sub(r"<svg.*?</svg>", "", text, flags=re.DOTALL)).faults
