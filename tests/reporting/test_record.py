import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfcompress.errors import RunError
from tfcompress.reporting.machine import Commit, Machine
from tfcompress.reporting.record import (
    Record,
    Start,
    new_record,
    read_record,
    seeds_of,
    write_record,
)

ROOT = Path(__file__).resolve().parents[2]
HASH = "0123456789" * 4
RECORD = Record(
    name="bench-forms",
    command="TFCOMPRESS_AMX=0 python -m benchmarks.forms",
    started="2026-01-31T12:00:00Z",
    seconds=61.5,
    machine=Machine("Some CPU", 2, ("avx2", "avx512_vnni"), 8 * 2**30, "Linux x86_64"),
    commit=Commit(HASH, dirty=True),
    versions={"python": "3.11.9", "keras": "3.15.1"},
    seeds=(0, 1),
    conditions="beside another process",
    measured={"tables": [{"rows": [["a", "1"]]}], "speed": 2.5},
)


def test_written_and_read_back(tmp_path):
    file = tmp_path / "records" / "bench-forms.json"
    write_record(file, RECORD)
    assert read_record(file) == RECORD


def test_the_file_has_what_was_measured_at_its_top(tmp_path):
    write_record(tmp_path / "r.json", RECORD)
    content = json.loads((tmp_path / "r.json").read_text())
    assert content.keys() == {"record", "tables", "speed"}
    assert content["speed"] == 2.5
    assert content["record"]["format"] == "tfcompress.record"
    assert content["record"]["version"] == 1
    assert content["record"]["commit"] == {"hash": HASH, "dirty": True}
    assert content["record"]["machine"]["instruction_sets"] == ["avx2", "avx512_vnni"]


def test_numpy_values_become_plain(tmp_path):
    record = new_record("n", {"a": np.float32(0.5), "b": float("nan")}, Start.now(), seeds=[7])
    write_record(tmp_path / "r.json", record)
    again = read_record(tmp_path / "r.json")
    assert again.measured == {"a": 0.5, "b": None}
    assert again.seeds == (7,)
    assert again.versions["python"] == platform.python_version()


def test_one_line_for_a_page():
    assert str(RECORD) == (
        "`TFCOMPRESS_AMX=0 python -m benchmarks.forms`; 2026-01-31; Some CPU, 2 cores, "
        "AVX2 AVX512-VNNI, 8 GiB; commit 0123456789 with local changes; beside another process"
    )


def changed(tmp_path, change):
    content = json.loads(json.dumps(RECORD.to_dict()))
    change(content["record"])
    file = tmp_path / "r.json"
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.update(format="other"), "it is no record"),
        (lambda r: r.update(version=2), "its version is 2, known is 1"),
        (lambda r: r.pop("command"), "r.json: record: field 'command' is missing"),
        (lambda r: r.pop("machine"), "record.machine: it is None"),
        (lambda r: r["machine"].pop("processor"), "record.machine: field 'processor' is missing"),
        (lambda r: r["machine"].update(cores="two"), "field 'cores' is 'two'"),
        (lambda r: r.update(colour="red"), "unknown field 'colour'"),
        (lambda r: r.update(seeds=["a"]), "field 'seeds' is"),
        (lambda r: r.update(started="yesterday"), "field 'started' is 'yesterday'"),
        (lambda r: r.update(started="2026-01-31"), "field 'started' is '2026-01-31'"),
        (lambda r: r.update(name=" "), "field 'name' is empty"),
        (lambda r: r["commit"].update(hash="main"), "field 'hash' is 'main'"),
        (lambda r: r.update(versions={"keras": 3}), "field 'versions' holds"),
    ],
)
def test_what_is_wrong_with_a_file_is_named(tmp_path, change, message):
    with pytest.raises(RunError, match=message):
        read_record(changed(tmp_path, change))


def test_a_transcribed_record_may_have_the_date_alone(tmp_path):
    file = changed(tmp_path, lambda r: r.update(started="2026-01-31", transcribed=True))
    assert read_record(file).started == "2026-01-31"


@pytest.mark.parametrize("text", ["", "[1]", '{"mean_iou": 0.5}'])
def test_other_files_are_no_records(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(RunError, match="cannot be read as JSON|it is no record"):
        read_record(tmp_path / "r.json")


def test_a_missing_file(tmp_path):
    with pytest.raises(RunError, match="there is no such file"):
        read_record(tmp_path / "none.json")


def test_seeds_of_a_configuration():
    assert seeds_of({"seeds": [0, 1]}) == (0, 1)
    assert seeds_of({"seed": 5}) == (5,)
    assert seeds_of({"epochs": 5}) == ()
    assert seeds_of({"seeds": [0], "seed": 5}) == (5,)  # a search trains with its one seed


@pytest.mark.parametrize(
    ("way", "shown"),
    [
        (["-m", "tool", "--seeds", "0 1"], "python -m tool --seeds '0 1'"),
        (["tool.py", "-v"], "python tool.py -v"),
    ],
)
def test_the_command_as_it_was_typed(tmp_path, way, shown):
    (tmp_path / "tool.py").write_text(
        "from tfcompress.reporting.record import this_command; print(this_command())"
    )
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "TF", "CUDA"))}
    environment |= {"PYTHONPATH": str(ROOT), "TFCOMPRESS_AMX": "0"}
    done = subprocess.run(
        [sys.executable, *way], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"TFCOMPRESS_AMX=0 {shown}", done.stderr
