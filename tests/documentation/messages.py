"""The error messages of the source, as patterns."""

import ast
import re
from pathlib import Path

LEAST_FIXED = 15
"""Characters of a message that no value decides; fewer would match anything."""


def patterns(root: Path) -> list[re.Pattern]:
    """One per `raise SomeError(where, problem, fix)` below the library's folders.

    What stands in braces of an f-string, and what is no text at all, matches anything.
    """
    found = []
    for top in ("tfcompress", "bridges", "models"):
        for path in sorted((root / top).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if _raises(node):
                    parts = [_pattern(argument) for argument in node.exc.args]
                    fixed = sum(len(re.sub(r"\.\+\?|\\", "", part)) for part in parts[1:])
                    if fixed >= LEAST_FIXED:
                        where, problem, fix = parts
                        found.append(re.compile(f"{where}: {problem}\\. Fix: {fix}", re.DOTALL))
    return found


def _raises(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and ast.unparse(node.exc.func).endswith(("Error", "NothingToRemove"))
        and len(node.exc.args) == 3
    )


def _pattern(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return re.escape(str(node.value))
    if isinstance(node, ast.JoinedStr):
        return "".join(_pattern(value) for value in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _pattern(node.left) + _pattern(node.right)
    return ".+?"
