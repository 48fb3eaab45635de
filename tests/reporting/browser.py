"""A page in a real browser: Chromium, headless, without a network."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--virtual-time-budget=2000", "--dump-dom",
    "--window-size=1800,3200",
)  # fmt: skip

needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here (Debian: apt-get install chromium)"
)


def in_browser(page, folder, script, width=900, wait=False):
    """What a JavaScript expression gives on a page, after the page's own scripts.

    The page is shown in a frame: a window of Chromium is never narrower than 500 pixels.

    Args:
        page: The HTML file; a copy, and a page that frames it, are written beside it and removed.
        folder: Empty folder for the browser's profile.
        script: The expression; its value goes through JSON.
        width: Width of the frame, in pixels.
        wait: Evaluate it half a second after the page is loaded, for scripts that need that.
    """
    tell = f"parent.postMessage(JSON.stringify({script}), '*')"
    if wait:
        tell = f"addEventListener('load', () => setTimeout(() => {tell}, 500))"
    told = f"<script>{tell}</script></body>"
    inner, around = (page.with_name(f"{part}-{page.name}") for part in ("inner", "around"))
    inner.write_text(page.read_text("utf-8").replace("</body>", told), "utf-8")
    around.write_text(
        "<!doctype html><body><pre id=found></pre><script>"
        "addEventListener('message', told => { found.textContent = told.data })</script>"
        f"<iframe style='border: 0' width={width} height=3000 src='{inner.name}'></iframe></body>",
        "utf-8",
    )
    try:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", around.as_uri()],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    finally:
        inner.unlink()
        around.unlink()
    (text,) = re.findall(r'<pre id="found">(.+?)</pre>', done.stdout, re.DOTALL)
    return json.loads(html.unescape(text))


# How wide things are against the room that they have.
WIDTHS = """({
  window: innerWidth,
  page: [document.documentElement.scrollWidth, document.documentElement.clientWidth],
  boxes: [...document.querySelectorAll('.scroll')].map(box => [box.scrollWidth, box.clientWidth]),
  pictures: [...document.querySelectorAll('img')].map(
    image => [image.getBoundingClientRect().right, document.documentElement.clientWidth]),
  shown: [...document.querySelectorAll('img')].every(image => image.naturalWidth > 0),
})"""


def assert_nothing_is_cut(page, folder, width):
    """No table or picture of a page reaches beyond its room at this width of the window."""
    found = in_browser(page, folder, WIDTHS, width)
    assert found["window"] == width
    assert found["shown"]
    for wide, room in (found["page"], *found["boxes"], *found["pictures"]):
        assert wide <= room
