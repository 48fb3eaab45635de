"""The manual keeps what it says: its code runs, its commands and messages exist.

Sybil finds the blocks of README.md and docs/. Those of a page run in order, in one namespace and in
a folder of their own; `documentation/setups.py` says what each page takes as given.
"""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import keras
import numpy as np
import pytest
from sybil import Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser

import tfcompress
from tests.documentation import setups, static
from tests.documentation.messages import patterns
from tfcompress.cli import main as command

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", *(str(p.relative_to(ROOT)) for p in sorted((ROOT / "docs").rglob("*.md")))]

# Blocks that do not run here: they are compiled, their imports are executed, and their calls are
# compared with the signatures of what they call. By page and a text of the block: why.
NOT_RUN = {
    ("docs/guides/search.md", "tfc.run_nni_experiment("): "starts an NNI experiment",
    ("docs/guides/yolov5.md", "search_oneshot("): "a supernet takes minutes an epoch",
}


def blocks(page, *languages):
    """(line, source) of the fenced blocks of a page, in order."""
    parsers = [CodeBlockParser(language, evaluator=lambda _: None) for language in languages]
    return [(example.line, str(example.parsed)) for example in Sybil(parsers).parse(ROOT / page)]


FIRST_STEPS = "docs/first-steps.md"  # its commands run too, in a test of its own


def runs_alone(page):
    return page != FIRST_STEPS and bool(blocks(page, "python"))


def reason_not_to_run(page, source):
    return next((why for (p, text), why in NOT_RUN.items() if p == page and text in source), None)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a stand-in for the clock."""
    monkeypatch.chdir(tmp_path)
    setups.stopwatch(monkeypatch)
    return tmp_path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("page", [page for page in PAGES if runs_alone(page)])
def test_the_python_of_a_page_runs(page, folder):
    document = Sybil([PythonCodeBlockParser()]).parse(ROOT / page)
    document.namespace.update(setups.PAGES.get(page, setups.basics)())
    document.namespace["__name__"] = "page"  # so that `if __name__ == "__main__"` does not run
    for example in document:
        if reason_not_to_run(page, example.parsed):
            document.namespace.update(static.checked(example.parsed, document.namespace))
        else:
            example.evaluate()
            static.checked(example.parsed, document.namespace)


@pytest.mark.parametrize(("page", "text"), list(NOT_RUN))
def test_a_block_that_is_treated_apart_is_there(page, text):
    assert sum(text in source for _, source in blocks(page, "python")) == 1


# --- shell


def commands(page):
    """Lines of a page's shell blocks, without comments, with the variables before a command."""
    for line, source in blocks(page, "sh"):
        for text in source.replace("\\\n", " ").splitlines():
            words = shlex.split(text, comments=True)
            if words:
                yield line, words


def all_commands(program):
    return [
        pytest.param(page, words, id=f"{page}:{line}:{' '.join(words[1:3])}")
        for page in PAGES
        for line, words in commands(page)
        if words[0] == program
    ]


MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "words"), all_commands("make"))
def test_a_make_target_is_there(page, words):
    target, *given = words[1:]
    assert re.search(rf"^{re.escape(target)}:.*## ", MAKEFILE, re.MULTILINE)
    for setting in given:
        variable, equals, _ = setting.partition("=")
        assert equals, setting
        assert re.search(rf"^{re.escape(variable)} \?=", MAKEFILE, re.MULTILINE), variable


def test_make_targets_in_the_text_are_there():
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for target in re.findall(r"`make\s([a-z0-9-]+)", text):
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), f"{page}: make {target}"


@pytest.mark.parametrize(("page", "words"), all_commands("tfcompress"))
def test_a_command_of_ours_parses(page, words, monkeypatch):
    ran = []
    for kind in command.COMMANDS.values():
        monkeypatch.setattr(kind, "check", lambda self: None)  # its files are not there
        monkeypatch.setattr(kind, "run", lambda self, console: ran.append(self))
    command.main(words[1:])
    (parsed,) = ran
    assert type(parsed) is command.COMMANDS[words[1]]


def test_every_shell_line_is_of_a_known_program():
    known = {"make", "tfcompress", "export", "nnictl", "pip"}
    for page in PAGES:
        for line, words in commands(page):
            program = next(word for word in words if not re.match(r"[A-Z_]+=", word))
            assert program in known | {"python"}, f"{page}, line {line}: {program}"


def test_every_extra_that_pip_is_given_is_there():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    installed = [words for page in PAGES for _, words in commands(page) if words[0] == "pip"]
    assert installed
    for words in installed:
        extra = re.search(r"\[(.+)\]", words[-1])
        assert extra is None or extra[1] in project["optional-dependencies"], words


@pytest.mark.filterwarnings("ignore")
def test_first_steps_run_as_they_stand(tmp_path, monkeypatch, capsys):
    """Every block of the page in order: Python, shell, files named in their first line."""
    monkeypatch.chdir(tmp_path)
    namespace = {**setups.basics(), "__name__": "page"}
    python = dict(blocks(FIRST_STEPS, "python"))
    shell = dict(blocks(FIRST_STEPS, "sh"))
    written = dict(blocks(FIRST_STEPS, "yaml"))
    for line in sorted(python | shell | written):
        if line in written:
            Path(written[line].splitlines()[0].removeprefix("# ")).write_text(written[line])
            continue
        if line in python:
            exec(python[line], namespace)
            continue
        for text in shell[line].splitlines():
            command.main(shlex.split(text)[1:])
    shown = capsys.readouterr().out
    assert "wrote small.keras" in shown
    assert "macro F1" in shown
    small = keras.saving.load_model("small.keras")
    assert tfcompress.count_cost(small).macs < 0.6 * tfcompress.count_cost(namespace["model"]).macs
    assert Path("compressed/chosen.tflite").is_file()
    assert Path("by-script/chosen.tflite").is_file()
    assert np.isfinite(namespace["result"].chosen.quality)


# --- text


def messages():
    text = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    return re.findall(r"^```text\n(.+?)\n```$", text, re.MULTILINE | re.DOTALL)


SOURCE_PATTERNS = patterns(ROOT)


@pytest.mark.parametrize("message", messages(), ids=lambda message: message[:40])
def test_a_quoted_message_is_one_of_the_source(message):
    assert any(pattern.fullmatch(message) for pattern in SOURCE_PATTERNS)


def test_messages_are_not_matched_by_anything():
    assert len(messages()) >= 25
    for text in ("model 'mine': it is blue. Fix: paint it", "a: b. Fix: c"):
        assert not any(pattern.fullmatch(text) for pattern in SOURCE_PATTERNS)


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/guides/")])
def test_a_guide_says_when_and_when_not(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    parts = ("**When.**", "**When not.**", "**What it costs.**", "**Source.**", "## Traps")
    assert [part for part in parts if part not in text] == []
    assert "## A worked example" in text


def test_every_public_name_has_a_place_in_the_reference():
    folder = ROOT / "docs/reference"
    pages = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("*.md"))
    index = (folder / "index.md").read_text(encoding="utf-8")
    for name, module in tfcompress._PUBLIC.items():
        assert f"::: {module}\n" in pages, module
        assert f"`tfc.{name}`" in index, name


MEASUREMENTS = "docs/measurements.md"


def test_every_cited_section_of_the_measurements_exists():
    """Programs say `docs/measurements.md ("Section")`, over a line's end too."""
    text = (ROOT / MEASUREMENTS).read_text(encoding="utf-8")
    sections = set(re.findall(r"^## (.+)$", text, re.MULTILINE))
    cited = {}
    for folder in ("tfcompress", "bridges", "experiments", "benchmarks", "examples"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            words = " ".join(path.read_text(encoding="utf-8").split())
            for name in re.findall(r'docs/measurements\.md[ ,(]+"([^"]+)"', words):
                cited[f"{path.relative_to(ROOT)}: {name}"] = name
    assert len(cited) >= 15
    assert [where for where, name in cited.items() if name not in sections] == []


def test_every_number_is_among_the_measurements():
    """One with a unit or four decimals was measured, and that page has the command."""
    measured = (ROOT / MEASUREMENTS).read_text(encoding="utf-8")
    for page in PAGES:
        text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
        for number in re.findall(r"\b\d\.\d{4}\b|\b\d+\.\d+(?= (?:s|ms)\b)", text):
            assert number in measured, f"{page}: {number}"


def test_the_manual_builds_without_a_warning(tmp_path):
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "true"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (built.returncode, built.stderr) == (0, "")
    for path in tmp_path.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert not re.search(r'<(script|link)[^>]+(src|href)="(https?:)?//', page), path.name
