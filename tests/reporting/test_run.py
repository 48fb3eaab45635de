import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from tfcompress.errors import RunError
from tfcompress.reporting.machine import this_machine
from tfcompress.reporting.record import read_record
from tfcompress.reporting.run import environment, open_run, to_json
from tfcompress.reporting.tables import Table

CONFIG = {"epochs": 3, "filters": (8, 16)}


def test_a_new_run_writes_what_it_is(tmp_path):
    run = open_run(tmp_path, "unet-train", "first", CONFIG)
    assert run.folder == tmp_path / "unet-train" / "first"
    assert run.read_json("config.json") == {"epochs": 3, "filters": [8, 16]}
    assert "tensorflow" in run.read_json("environment.json")["packages"]
    assert run.read_json("status.json") == {"state": "running"}
    assert run.read_json("nothing.json") is None
    run.close()


def test_a_finished_run_of_the_same_configuration(tmp_path):
    open_run(tmp_path, "e", "r", CONFIG).finish({"mean_iou": 0.5})
    run = open_run(tmp_path, "e", "r", CONFIG)
    assert run.finished
    metrics = run.read_json("metrics.json")
    assert metrics.pop("record")["name"] == "e/r"
    assert metrics == {"mean_iou": 0.5}
    run.close()


def test_metrics_say_where_they_come_from(tmp_path):
    config = {**CONFIG, "seeds": (3, 4)}
    open_run(tmp_path, "e", "r", config).finish({"mean_iou": np.float32(0.5)})
    record = read_record(tmp_path / "e" / "r" / "metrics.json")
    assert record.measured == {"mean_iou": 0.5}
    assert (record.name, record.seeds, record.conditions) == ("e/r", (3, 4), "")
    assert record.machine == this_machine()


def test_metrics_of_a_resumed_run_say_so(tmp_path):
    run = open_run(tmp_path, "e", "r", CONFIG)
    run.path("checkpoints").mkdir()
    run.close()
    open_run(tmp_path, "e", "r", CONFIG, resume=True).finish({})
    assert read_record(tmp_path / "e" / "r" / "metrics.json").conditions.startswith("resumed")


def test_a_metric_called_record_is_refused(tmp_path):
    run = open_run(tmp_path, "e", "r", CONFIG)
    with pytest.raises(RunError, match="e/r: a measured value is called 'record'"):
        run.finish({"record": 1})
    run.close()
    assert json.loads((tmp_path / "e/r/status.json").read_text()) == {"state": "running"}


def test_a_folder_with_the_old_name_of_a_field_is_the_same_run(tmp_path):
    open_run(tmp_path, "e", "r", {"method": "l2"}).finish({})
    run = open_run(tmp_path, "e", "r", {"score": "l2"}, renamed={"method": "score"})
    assert run.finished
    run.close()
    with pytest.raises(RunError, match="score: 'l2', now 'l1'"):
        open_run(tmp_path, "e", "r", {"score": "l1"}, renamed={"method": "score"})


def test_another_configuration_names_the_difference(tmp_path):
    open_run(tmp_path, "e", "r", CONFIG).finish({})
    with pytest.raises(RunError, match="another configuration.*epochs: 3, now 4.*another RUN"):
        open_run(tmp_path, "e", "r", {**CONFIG, "epochs": 4})


def test_an_unfinished_run_asks_for_resume(tmp_path):
    run = open_run(tmp_path, "e", "r", CONFIG)
    run.path("checkpoints").mkdir()
    run.close()
    with pytest.raises(RunError, match="it is unfinished.*RESUME=1"):
        open_run(tmp_path, "e", "r", CONFIG)
    run = open_run(tmp_path, "e", "r", CONFIG, resume=True)
    assert not run.finished
    run.close()


def test_a_run_that_ended_before_any_work_is_no_obstacle(tmp_path):
    run = open_run(tmp_path, "e", "r", CONFIG)
    run.print("wrong folder")
    run.path("generated_tiles").mkdir()
    run.close()
    again = open_run(tmp_path, "e", "r", {**CONFIG, "epochs": 4})
    assert again.read_json("config.json")["epochs"] == 4
    assert not again.path("generated_tiles").exists()
    again.close()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "e" / "r").mkdir(parents=True)
    (tmp_path / "e" / "r" / "thesis.doc").write_text("years of work")
    with pytest.raises(RunError, match="files that are no run"):
        open_run(tmp_path, "e", "r", CONFIG)
    assert [path.name for path in (tmp_path / "e" / "r").iterdir()] == ["thesis.doc"]


def test_two_processes_do_not_share_a_run(tmp_path):
    run = open_run(tmp_path, "e", "r", CONFIG)
    code = (
        "from tfcompress.reporting.run import open_run;"
        f"open_run({str(tmp_path)!r}, 'e', 'r', {CONFIG!r}, resume=True)"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "another process is working in it" in other.stderr
    run.close()
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr


def test_log_holds_what_was_printed(tmp_path, capsys):
    run = open_run(tmp_path, "e", "r", CONFIG)
    table = Table(("a", "b"))
    table.add("x", "1")
    table.note("below")
    run.print("hello [1]", table)
    printed, log = capsys.readouterr().out, run.path("log.txt").read_text()
    for text in ("hello [1]", "below", "x"):
        assert text in printed
        assert text in log
    run.close()


def test_an_object_is_printed_as_it_says_itself(tmp_path, capsys):
    """rich would print the fields of a dataclass, the bytes of a file among them."""

    @dataclass
    class File:
        content: bytes

        def __str__(self) -> str:
            return "a file of 3 bytes"

    run = open_run(str(tmp_path), "x", "y", {}, False)
    run.print(File(b"abc"))
    assert "a file of 3 bytes" in capsys.readouterr().out
    assert "abc" not in run.path("log.txt").read_text()


def test_history_has_every_column(tmp_path):
    run = open_run(tmp_path, "e", "r", CONFIG)
    run.write_history([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4, "sparsity": 0.8}])
    lines = run.path("history.csv").read_text().splitlines()
    assert lines == ["epoch,loss,sparsity", "1,0.5,", "2,0.4,0.8"]
    run.close()


def test_json_of_numpy_and_nan():
    content = {"a": np.float32(0.5), "b": np.array([1, 2]), "c": float("nan"), "d": (1, None)}
    assert json.loads(to_json(content)) == {"a": 0.5, "b": [1, 2], "c": None, "d": [1, None]}


def test_environment_names_machine_and_versions():
    found = environment()
    assert found["cpus"] >= 1
    assert found["packages"]["keras"]
