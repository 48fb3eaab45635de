"""The command `tfcompress` as a whole: its help, its version, one clear error."""

import re
import subprocess
import sys

import pytest

import tfcompress
from tfcompress.cli.main import COMMANDS, main


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["inspect", "none.keras"], "none.keras: there is no such file"),
        (["inspect", "model.h5"], "its suffix '.h5' is not supported"),
        (["prune", "{model}", "out.keras"], "prune: it needs one target"),
        (["prune", "{model}", "out.h5", "--sparsity", "0.5"], "out.h5: it does not end in .keras"),
        (["prune", "{model}", "no/out.keras", "--sparsity", "0.5"], "its folder does not exist"),
        (["prune", "{model}", "out.keras", "--sparsity", "2"], "sparsity: it is 2"),
        (["prune", "{model}", "out.keras", "--sparsity", "0"], "sparsity: it is 0"),
        (["quantize", "{model}", "out.tflite"], "int8 measures ranges on data, and none is given"),
        (["quantize", "{model}", "out.tflite", "--format", "int2"], "format: 'int2' is unknown"),
        (["quantize", "{model}", "out.tflite", "--calibration", "none"], "none: there is no such"),
        (["quantize", "{lite}", "out.tflite"], "it is a LiteRT file, which cannot be changed"),
        (
            ["prune", "{model}", "out.keras", "--target-macs", "0.5", "--score", "l3"],
            "score: unknown value 'l3'. Fix: use l1, l2",
        ),
        (["prune", "none.keras", "out.keras", "--sparsity", "0.5"], "none.keras: there is no such"),
        (["compare", "{model}", "--data", "none.npz"], "none.npz: there is no such file"),
    ],
)
def test_bad_input(folder, capsys, tmp_path, tmp_path_factory, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    model = str(folder / "model.keras")
    lite = tmp_path_factory.mktemp("lite") / "model.tflite"
    lite.touch()
    with pytest.raises(SystemExit) as ended:
        main([part.format(model=model, lite=lite) for part in argv])
    assert ended.value.code == 2
    told = capsys.readouterr().err.replace("\n", "")
    assert message in told
    assert told.count("error:") == 1
    assert list(tmp_path.iterdir()) == []


# --- what is loaded before there is work to do

HEAVY = ("tensorflow", "keras", "tf_keras", "numpy", "ai_edge_litert", "torch", "matplotlib")
LIGHT = [
    ["--help"],
    ["--version"],
    *([verb, "--help"] for verb in COMMANDS),
    ["compress", "model.keras"],  # an argument is missing
    ["prune", "model.keras", "small.keras", "--sparcity", "0.5"],  # no such option
    ["prune", "model.keras", "small.keras"],  # no target
    ["inspect", "none.keras"],
    ["quantize", "none.keras", "model.tflite", "--format", "float16"],
    ["quantize", "none.keras", "model.tflite", "--format", "int2"],
    ["quantize", "none.keras", "model.tflite", "--recipe", "float16"],  # an old name
    ["compare", "none.keras", "none.tflite", "--data", "none.npz"],
    ["compress", "none.keras", "out", "--recipe", "none.yaml", "--train", "a", "--val", "b"],
]


def test_nothing_heavy_is_loaded_for_help_or_for_a_wrong_command(tmp_path):
    program = f"""
import sys
from tfcompress.cli.main import main
for argv in {LIGHT!r}:
    code = 0
    try:
        main(argv)
    except SystemExit as ended:
        code = ended.code
    print("loaded", argv, code, sorted(set({HEAVY!r}) & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    told = done.stderr.splitlines()
    assert len([line for line in told if line.startswith("error: ")]) == 7
    (warned,) = [line for line in told if "warning" in line.lower()]
    assert warned.startswith("warning: the flag --recipe of quantize is now called '--format'; ")
    loaded = [line for line in done.stdout.splitlines() if line.startswith("loaded")]
    helps = 2 + len(COMMANDS)
    assert loaded == [f"loaded {argv} {0 if i < helps else 2} []" for i, argv in enumerate(LIGHT)]


@pytest.mark.parametrize("module", ["tfcompress", "tfcompress.cli", "tfcompress.cli.main"])
def test_as_a_program(module):
    for argv, expected in (
        (["--version"], f"tfcompress {tfcompress.__version__}\n"),
        (
            ["quantize", "--help"],
            "usage: tfcompress quantize [-h] [QUANTIZE OPTIONS] MODEL OUTPUT\n",
        ),
    ):
        done = subprocess.run(
            [sys.executable, "-m", module, *argv], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith(expected)
        assert done.stderr == ""


def test_the_help_names_the_arguments(help_of):
    for verb in COMMANDS:
        text = help_of(verb)
        assert "MODEL" in text
        assert not re.search(r"\b(STR|FLOAT|INT)\b", text), text
