"""The manual as it is built: its style sheet fits its pages, and no page is cut in a browser."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.reporting.browser import in_browser, needs_browser

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("index.html", "measurements.html", "troubleshooting.html", "how-it-fits.html",
         "reference/channels.html")  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("mkdocs", path=Path(sys.executable).parent) is None,
                       reason="no mkdocs here (requirements.txt has it)"),
]  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", folder]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=300)
    return folder


def test_error_messages_have_the_class_that_wraps_them(site):
    style = (site / "site.css").read_text(encoding="utf-8")
    assert ".language-text pre > code" in style
    page = (site / "troubleshooting.html").read_text(encoding="utf-8")
    blocks = re.findall(r'<div class="([^"]*)"><pre>', page)
    assert len(blocks) >= 25
    assert all("language-text" in block.split() for block in blocks)


FOUND = """({
  page: [document.documentElement.scrollWidth, document.documentElement.clientWidth],
  tables: [...document.querySelectorAll('.md-typeset__scrollwrap')].map(
    box => [box.scrollWidth, box.clientWidth]),
  messages: [...document.querySelectorAll('.language-text code')].map(
    code => [code.scrollWidth, code.clientWidth]),
  buttons: [...document.querySelectorAll('.md-typeset pre')].map(pre => {
    const button = pre.querySelector('.md-code__nav, .md-clipboard');
    const code = pre.querySelector('code');
    return button === null ? [0, 0] :
      [code.getBoundingClientRect().right, button.getBoundingClientRect().left];
  }),
})"""


@needs_browser
@pytest.mark.parametrize("width", [400, 900, 1700])
@pytest.mark.parametrize("page", PAGES)
def test_nothing_of_a_page_is_cut(site, tmp_path, page, width):
    found = in_browser(site / page, tmp_path / "profile", FOUND, width, wait=True)
    if page == "troubleshooting.html":
        assert len(found["messages"]) >= 25
    if page == "measurements.html":
        assert len(found["tables"]) >= 5
    for wide, room in (found["page"], *found["tables"], *found["messages"], *found["buttons"]):
        assert wide <= room + 1  # a fraction of a pixel is rounded up
