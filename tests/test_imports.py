"""The house rules: who may import whom, and what `import tfcompress` loads."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP = ("tfcompress", "bridges", "models", "experiments", "benchmarks", "examples")

# Level of each room of tfcompress; a module imports its own level and those below. The longest
# name that fits a module counts.
LEVELS = {
    "tfcompress.errors": 0,
    "tfcompress.atomic": 0,
    "tfcompress.quiet": 0,
    "tfcompress.extras": 0,
    "tfcompress.renamed": 0,
    "tfcompress.short_repr": 0,
    "tfcompress.config": 0,
    "tfcompress.isolation": 0,
    "tfcompress.internals": 0,
    "tfcompress.litert.amx": 0,
    "tfcompress.startup": 1,
    "tfcompress.data": 1,
    "tfcompress.losses": 1,
    "tfcompress.reporting": 1,
    "tfcompress.pruning.schedules": 1,
    "tfcompress.pruning.level.masks": 1,
    "tfcompress.pruning.level.scores": 1,
    "tfcompress.pruning.channels.core": 1,
    "tfcompress.graph": 2,
    "tfcompress.twin": 2,
    "tfcompress.litert": 3,
    "tfcompress.evaluation": 4,
    "tfcompress.pruning": 5,
    "tfcompress.quantization": 5,
    "tfcompress.factorization": 5,
    "tfcompress.distillation": 5,
    "tfcompress.tuning": 5,
    "tfcompress.model_files": 6,
    "tfcompress.comparison": 6,
    "tfcompress.pipeline": 7,
    "tfcompress.cli": 8,
    "tfcompress": 8,
}
TECHNIQUES = ("pruning", "quantization", "factorization", "distillation", "tuning")
NUMPY_ONLY = (
    "tfcompress/pruning/schedules.py",
    "tfcompress/pruning/level/masks.py",
    "tfcompress/pruning/level/scores.py",
    *(
        f"tfcompress/pruning/channels/core/{name}.py"
        for name in ("units", "scores", "options", "budget", "targets", "latency", "plan")
    ),
    "tfcompress/evaluation/bootstrap.py",
    "tfcompress/evaluation/parity.py",
    "tfcompress/data/patches.py",
    "tfcompress/data/palette.py",
)
# What the bridge may use of tfcompress, beside its public names.
BRIDGE = (
    "tfcompress.errors",
    "tfcompress.atomic",
    "tfcompress.renamed",
    "tfcompress.isolation",
    "tfcompress.short_repr",
    "tfcompress.internals",
    "tfcompress.reporting",
    "tfcompress.litert",
    "tfcompress.evaluation",
    "tfcompress.pruning.channels.core",
)
FILES_IN_A_FOLDER = 15


def files():
    return [path for top in TOP for path in sorted((ROOT / top).rglob("*.py"))]


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path):
    """Modules that a file imports, at its top or inside functions."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def level_of(module):
    return LEVELS[max((name for name in LEVELS if within(module, name)), key=len)]


def within(module, *rooms):
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def is_module(name):
    stem = ROOT.joinpath(*name.split("."))
    return stem.with_suffix(".py").is_file() or (stem / "__init__.py").is_file()


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down(path):
    module, top = module_of(path), path.relative_to(ROOT).parts[0]
    for imported in imports_of(path):
        other = imported.split(".")[0]
        if other not in TOP or not is_module(imported):
            continue
        where = f"{module} imports {imported}"
        if top in ("tfcompress", "models"):
            assert other == top, where
        if top == "bridges":
            allowed = within(imported, *BRIDGE, "models.yolov5", "bridges")
            assert imported == "tfcompress" or allowed, where
        if top == "examples":
            assert imported == "tfcompress" or other == top, where
        if top in ("experiments", "benchmarks"):
            allowed = within(imported, "tfcompress", "bridges", "models", "experiments.common", top)
            assert allowed, where
        if top == other == "tfcompress":
            assert level_of(imported) <= level_of(module), where
            rooms = module.split(".")[1:2] + imported.split(".")[1:2]
            if len(rooms) == 2 and all(room in TECHNIQUES for room in rooms):
                assert rooms[0] == rooms[1], where


@pytest.mark.parametrize("name", NUMPY_ONLY)
def test_cores_know_no_framework(name):
    roots = {imported.split(".")[0] for imported in imports_of(ROOT / name)}
    assert not roots & {"tensorflow", "keras", "tf_keras", "torch"}


def test_there_is_no_utils():
    assert not [path for path in files() if path.stem in ("utils", "helpers", "misc")]


def test_files_stay_small():
    long = {str(p): n for p in files() if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_folders_stay_small():
    folders = {path.parent for path in files()}
    counts = {str(d): len([p for p in d.glob("*.py") if p.stem != "__init__"]) for d in folders}
    assert not {folder: n for folder, n in counts.items() if n > FILES_IN_A_FOLDER}


def test_every_folder_has_a_door():
    """Its docstring says what is inside and which file to open first."""
    for folder in {path.parent for path in files() if path.parent.name != "examples"}:
        if folder.is_relative_to(ROOT / "examples"):
            continue
        door = folder / "__init__.py"
        text = ast.get_docstring(ast.parse(door.read_text(encoding="utf-8"))) or ""
        assert len(text) > 40, door


def imports_inside_functions_too(path):
    """All but those for type checking alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def test_no_import_circle():
    """Inside functions too; only an import for type checking may close a circle."""
    modules = {module_of(path): path for path in files()}
    edges = {
        name: {
            other
            for other in imports_inside_functions_too(path)
            if other in modules and modules[other].name != "__init__.py" and other != name
        }
        for name, path in modules.items()
    }
    done, circles = set(), []

    def visit(name, trail):
        if name in trail:
            circles.append([*trail[trail.index(name) :], name])
            return
        if name in done:
            return
        for other in sorted(edges[name]):
            visit(other, [*trail, name])
        done.add(name)

    for name in edges:
        visit(name, [])
    assert not circles


def test_moved_modules_are_where_the_file_says():
    lines = (ROOT / "tests" / "moved_modules.txt").read_text(encoding="utf-8").splitlines()
    moves = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    assert moves
    for old, new in moves:
        assert is_module(new), new
        assert not is_module(old), old


def test_the_library_never_imports_the_start_up():
    users = [p for p in files() if "tfcompress.startup" in imports_of(p)]
    assert users
    programs = ("experiments", "benchmarks", "tfcompress/cli/")
    assert all(str(path.relative_to(ROOT)).startswith(programs) for path in users)


def run_python(code):
    clean = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_import_loads_nothing_heavy_and_sets_nothing():
    heavy = "('tensorflow_model_optimization', 'torch', 'onnx', 'nni', 'tensorflow', 'keras')"
    code = (
        "import os, sys; before = dict(os.environ); import tfcompress; "
        f"print([name for name in {heavy} if name in sys.modules], dict(os.environ) == before)"
    )
    assert run_python(code).split() == ["[]", "True"]


def test_every_public_name_loads_without_the_optional_stacks_and_no_module_hides_it():
    """A module imported as `tfcompress.comparison` would take the place of the function."""
    heavy = "('tensorflow_model_optimization', 'torch', 'onnx', 'nni', 'segmentation_models')"
    code = (
        "import os, sys; import tfcompress; "
        "[getattr(tfcompress, name) for name in tfcompress.__all__]; "
        f"print([name for name in {heavy} if name in sys.modules], "
        "'TF_USE_LEGACY_KERAS' in os.environ); "
        "import importlib, pkgutil, types; "
        "[importlib.import_module(f'tfcompress.{m.name}') for m in "
        "pkgutil.iter_modules(tfcompress.__path__)]; "
        "print([name for _ in range(2) for name in tfcompress.__all__ "
        "if isinstance(getattr(tfcompress, name), types.ModuleType)])"
    )
    assert run_python(code).split() == ["[]", "False", "[]"]


def test_unknown_public_name():
    import tfcompress

    with pytest.raises(AttributeError, match="no attribute 'LevelPrunner'"):
        tfcompress.LevelPrunner  # noqa: B018


@pytest.mark.parametrize(
    ("missing", "code", "message"),
    [
        (
            "tf_keras",
            "import keras; m = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]); "
            "tfcompress.to_tf_keras(m)",
            "Fix: pip install 'tfcompress[tfmot]'",
        ),
        ("torch", "import bridges", "torch cannot be imported. Fix: pip install 'tfcompress[br"),
    ],
)
def test_a_missing_extra_is_named(missing, code, message):
    code = (
        f"import sys; sys.modules[{missing!r}] = None\nimport tfcompress\n"
        f"try:\n    {code}\nexcept Exception as error:\n    print(error)"
    )
    assert message in run_python(code)


INNER_MODULES = (
    "keras.src",
    "tf_keras.src",
    "keras_tuner.src",
    "tensorflow.lite",
    "tensorflow.python",
    "tensorflow_model_optimization.python",
    "nni.algorithms",
    "nni.experiment.launcher",
    "nni.experiment.rest",
    "nni.nas.oneshot",
    "nni.nas.strategy.evolution",
    "onnx2keras",
    "torch_pruning._helpers",
    "torch_pruning.dependency",
    "torch_pruning.ops",
)


def private_attributes():
    """Attributes with an underscore that `tfcompress/internals/` knows."""
    found = set()
    for path in sorted((ROOT / "tfcompress" / "internals").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= {node.value} if re.fullmatch(r"_[a-z]\w+", node.value) else set()
    return found | {f"_{part}_dense" for part in ("query", "key", "value", "output")}


def test_private_names_of_others_stay_in_their_room():
    private, wrong = private_attributes(), []
    assert {"_keras_history", "_constraint", "_proc", "_query_dense"} <= private
    for path in files():
        name = str(path.relative_to(ROOT))
        if not name.startswith(("tfcompress/", "bridges/")) or name.startswith(
            "tfcompress/internals/"
        ):
            continue
        inner = {i for i in imports_of(path) if within(i, *INNER_MODULES)}
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                inner |= {node.attr} & (private - own)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                inner |= {node.value} & private
        if name == "tfcompress/tuning/nni/space.py":
            inner -= {"_value"}  # a key of NNI's search space files
        wrong += [f"{name}: {what}" for what in sorted(inner)]
    assert not wrong, "give these a place in tfcompress/internals/"
