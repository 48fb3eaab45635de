"""Every program says what it takes, and every flag what it is."""

import ast
import re

import pytest

from tests.experiments.processes import ROOT

FILES = sorted((ROOT / "experiments").rglob("*.py"))
PROGRAMS = [path for path in FILES if re.search(r"^PROGRAM = ", path.read_text(), re.MULTILINE)]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def fields_of(path):
    """`(class, field, docstring or None)` of the fields of configs."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and re.search(r"Config$|Search|Fields$", node.name):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and "ClassVar" not in ast.unparse(field):
                    text = None
                    if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                        text = after.value.value
                    yield node.name, field.target.id, text


DOCUMENTED = {field for path in FILES for _, field, text in fields_of(path) if text}


def test_there_are_programs():
    assert len(PROGRAMS) == 29


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_names_its_target_and_states_its_time(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    targets = re.match(r"make ([a-z0-9-]+)(?:, ([a-z0-9-]+))?: ", text).groups()
    for target in filter(None, targets):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert re.search(rf"^{target}: .*\n\t.* -m {re.escape(module)} ", MAKEFILE, re.MULTILINE)
    assert re.search(r"\bTakes\s", text), "no duration"
    assert re.search(r"\b(Prints|Expect)\s", text), "nothing to expect"


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.parts[-2:]))
def test_every_field_is_documented(path):
    for owner, field, text in fields_of(path):
        # A field that only changes a base's default has the base's docstring.
        assert text or field in DOCUMENTED, f"{owner}.{field}"
        riddle = r"(Of|What|Where|Which|As|At|In|By|After|Before|Also|Instead|Do not|Only) "
        assert not re.match(riddle, text or ""), f"{owner}.{field}: {text}"
