"""What can be said of a code block that does not run: its imports work, what it names is there."""

import ast
import builtins
import inspect
from typing import Any


def checked(source: str, given: dict[str, Any]) -> dict[str, Any]:
    """Run the imports of a block, and compare its calls with the functions that they name.

    Args:
        source: The block.
        given: Names that the page has before it, and those of its imports.

    Returns:
        `given` with the imported names.

    Raises:
        AssertionError: A module's attribute is missing, or a call does not fit its signature.
    """
    tree = ast.parse(source)
    compile(tree, "<block>", "exec")
    names = dict(given)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            exec(compile(ast.Module([node], []), "<imports>", "exec"), names)
    names.pop("__builtins__", None)
    own = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = _value(node.func, names, own)
            if called is not None:
                _fits(node, called)
    return names


def _value(node: ast.expr, names: dict[str, Any], own: set[str]) -> Any:
    """The object that an expression names; None where only running it would tell."""
    if isinstance(node, ast.Name):
        if node.id in own:
            return None
        return names.get(node.id, getattr(builtins, node.id, None))
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, names, own)
        if inspect.ismodule(owner) or inspect.isclass(owner):
            assert hasattr(owner, node.attr), f"{owner.__name__} has no {node.attr}"
            return getattr(owner, node.attr)
    return None


def _fits(call: ast.Call, called: Any) -> None:
    if any(isinstance(part, ast.Starred) for part in call.args) or not call.keywords + call.args:
        return
    if any(keyword.arg is None for keyword in call.keywords):
        return
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*call.args, **{keyword.arg: None for keyword in call.keywords})
    except TypeError as error:
        raise AssertionError(f"{ast.unparse(call.func)}{signature}: {error}") from None
