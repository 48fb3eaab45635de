import dataclasses
import importlib
import json
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import pytest

from experiments.common.program import Program, RunConfig, compared, parse, run_experiment
from experiments.common.report import Report
from tfcompress.errors import ConfigError, DataError, RunError
from tfcompress.reporting.page import Section
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config:
    """A config of all kinds of fields."""

    epochs: int = 20
    learning_rate: float = 1e-3
    scope: Literal["layer", "global"] = "layer"
    filters: tuple[int, ...] = (8, 16)
    stride: int | None = None
    classes: dict[str, str] = field(default_factory=dict)
    run: str = "default"
    resume: bool = False


SMOKE = {"epochs": 2, "filters": (4,)}


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return ["--config", str(path)]


def test_flags():
    config = parse(Config, ["--epochs", "5", "--filters", "1", "2", "--resume"], {})
    assert (config.epochs, config.filters, config.resume) == (5, (1, 2), True)


def test_yaml_sets_every_kind_of_field(tmp_path):
    text = "epochs: 7\nlearning_rate: 1\nscope: global\nfilters: [4, 8]\nstride: 32\n"
    config = parse(Config, write(tmp_path, text + "classes: {Road: '#000000'}\n"), {})
    assert config == Config(
        epochs=7,
        learning_rate=1.0,
        scope="global",
        filters=(4, 8),
        stride=32,
        classes={"Road": "#000000"},
    )


def test_precedence_default_yaml_smoke_flag(tmp_path):
    arguments = write(tmp_path, "epochs: 7\nrun: mine\n")
    assert parse(Config, arguments, SMOKE).epochs == 7
    smoke = parse(Config, [*arguments, "--smoke"], SMOKE)
    assert (smoke.epochs, smoke.run, smoke.filters) == (2, "mine", (4,))
    assert parse(Config, [*arguments, "--smoke", "--epochs", "9"], SMOKE).epochs == 9


def test_config_json_of_a_run_is_accepted(tmp_path):
    config = Config(epochs=3, filters=(4, 8), classes={"a": "#000001"}, run="x")
    (tmp_path / "config.json").write_text(json.dumps(compared(config)))
    again = parse(Config, ["--config", str(tmp_path / "config.json")], {})
    assert compared(again) == compared(config)
    assert "run" not in compared(config)
    assert "resume" not in compared(config)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch: 3", r"unknown field 'epoch'.*use epochs, learning_rate"),
        ("epochs: many", "field 'epochs' is 'many'.*give a int"),
        ("epochs: 2.5", "field 'epochs' is 2.5"),
        ("epochs: true", "field 'epochs' is True"),
        ("scope: model", "field 'scope' is 'model'"),
        ("filters: 8", "field 'filters' is 8"),
        ("filters: [a]", "field 'filters'"),
        ("- 3", "it does not hold a mapping"),
        ("a: [", "it is not valid YAML"),
        ("!!python/object:os.system {}", "it is not valid YAML"),
    ],
)
def test_bad_yaml_names_file_key_and_fix(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        parse(Config, write(tmp_path, text), {})


def test_missing_yaml(tmp_path):
    with pytest.raises(ConfigError, match="there is no such file"):
        parse(Config, ["--config", str(tmp_path / "no.yaml")], {})


def test_errors_are_one_line_and_exit_code_2(capsys):
    def main(config):
        raise DataError("a[0].png", "it is broken", "replace it")

    with pytest.raises(SystemExit) as exit_:
        run_experiment(Config, main, argv=[])
    assert exit_.value.code == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: a[0].png: it is broken. Fix: replace it"
    ]


def test_full_disk_is_one_line(capsys):
    def main(config):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(SystemExit) as exit_:
        run_experiment(Config, main, argv=[])
    assert exit_.value.code == 1
    assert "No space left on device" in capsys.readouterr().err


@dataclass(frozen=True, kw_only=True)
class CheckedConfig:
    """Its default is not valid: a file has to be named."""

    file: str = ""

    def check(self) -> None:
        """The file is named."""
        if not self.file:
            raise ConfigError("file", "it is empty", "name a file")


def test_a_complete_config_is_checked_not_its_default():
    assert parse(CheckedConfig, ["--file", "x"], {}).file == "x"
    with pytest.raises(ConfigError, match="it is empty. Fix: name a file"):
        parse(CheckedConfig, [], {})


@dataclass(frozen=True, kw_only=True)
class CountConfig(RunConfig):
    """Counts how often it was run."""

    start: int = 1
    json: str = ""


def counting(calls, exit_code=0):
    def main(config, run):
        calls.append(config.start)
        table = Table(("name", "value"), title="Counted")
        table.add("calls", str(len(calls)))
        table.total("sum", str(sum(calls)))
        table.note("a note")
        run.path("model.pt").parent.mkdir(parents=True, exist_ok=True)
        return Report(
            "Title of the page",
            "One sentence.",
            (table, "a [text]"),
            (Section("A section", tables=(table,)),),
            {"calls": len(calls)},
            exit_code,
        )

    return main


def config_in(tmp_path, **fields):
    return CountConfig(root=str(tmp_path), **fields)


def test_the_driver_owns_the_run(tmp_path, capsys):
    calls = []
    program = Program("count", CountConfig, counting(calls))
    report = program.run(config_in(tmp_path))
    folder = tmp_path / "count" / "default"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (metrics["calls"], metrics["record"]["name"]) == (1, "count/default")
    assert json.loads((folder / "status.json").read_text()) == {"state": "finished"}
    page = (folder / "report.html").read_text()
    for words in ("Title of the page", "One sentence.", "A section", "Counted"):
        assert words in page
    printed = " ".join(capsys.readouterr().out.split())
    assert "Counted" in printed
    assert "report.html" in printed
    log = (folder / "log.txt").read_text()
    again = program.run(config_in(tmp_path))
    assert (folder / "log.txt").read_text() == log  # the log is that of the work
    assert calls == [1]
    assert again.metrics["calls"] == 1
    assert list(map(str, again.tables)) == list(map(str, report.tables))
    printed = " ".join(capsys.readouterr().out.split())
    assert "nothing to do" in printed
    assert "Counted" in printed
    with pytest.raises(RunError, match="start: 1, now 2"):
        program.run(config_in(tmp_path, start=2))


def test_a_program_without_a_run_works_each_time(tmp_path, capsys):
    calls = []
    program = Program("count", CountConfig, counting(calls), keeps_run=False)
    file = tmp_path / "numbers.json"
    for _ in range(2):
        program.run(config_in(tmp_path, json=str(file)))
    assert json.loads(file.read_text()) == {"calls": 2}
    assert "One sentence." in capsys.readouterr().out
    assert not list(tmp_path.rglob("config.json"))


def test_the_exit_code_is_the_reports(tmp_path):
    for code in (0, 1):
        program = Program("count", CountConfig, counting([], code), keeps_run=False)
        if code:
            with pytest.raises(SystemExit) as stop:
                program.start(["--root", str(tmp_path)])
            assert stop.value.code == code
        else:
            program.start(["--root", str(tmp_path)])


def test_a_config_is_completed_before_its_run_is_opened(tmp_path):
    calls = []
    program = Program(
        "count", CountConfig, counting(calls), complete=lambda c: config_in(tmp_path, start=7)
    )
    program.run(config_in(tmp_path))
    assert calls == [7]
    assert json.loads((tmp_path / "count/default/config.json").read_text())["start"] == 7


@dataclass(frozen=True)
class Renamed(Config):
    """A config one of whose fields had another name."""

    RENAMED: ClassVar[dict[str, str]] = {"old_name": "scope"}


@pytest.mark.parametrize("flags", [["--old-name", "global"], ["--old-name=global"]])
def test_a_flag_by_its_old_name(flags, capsys):
    assert parse(Renamed, flags, {}).scope == "global"
    assert "--old-name is now called --scope" in capsys.readouterr().err


def test_a_field_of_a_file_by_its_old_name(tmp_path):
    with pytest.warns(FutureWarning, match="the field 'old_name' is now called 'scope'"):
        assert parse(Renamed, write(tmp_path, "old_name: global\n"), {}).scope == "global"


@dataclass(frozen=True, kw_only=True)
class SeedsConfig(RunConfig):
    """A config with both fields of seeds."""

    seeds: tuple[int, ...] = (3, 4)


@dataclass(frozen=True, kw_only=True)
class SeedConfig(SeedsConfig):
    """A search: one seed, beside the field of the programs whose training it searches."""

    seed: int = 5


@pytest.mark.parametrize(
    ("config", "named", "recorded"),
    [
        (SeedsConfig, None, [3, 4]),
        (SeedsConfig, (3,), [3]),  # a program that trains with the first seed only
        (SeedConfig, None, [5]),
    ],
)
def test_the_record_names_the_seeds_that_were_used(tmp_path, config, named, recorded):
    program = Program("seeds", config, lambda config, run: Report("T", "H", seeds=named))
    program.run(config(root=str(tmp_path)))
    metrics = json.loads((tmp_path / "seeds/default/metrics.json").read_text())
    assert metrics["record"]["seeds"] == recorded


def test_the_clean_up_comes_after_the_end(tmp_path):
    states = []

    def main(config, run):
        status = run.path("status.json")
        return Report("T", "H", clean_up=lambda: states.append(json.loads(status.read_text())))

    Program("count", CountConfig, main).run(config_in(tmp_path))
    assert states == [{"state": "finished"}]


@pytest.mark.parametrize(
    ("module", "new", "old"),
    [
        ("experiments.yolo.prune", "score", "method"),
        ("experiments.unet.int8", "formats", "recipes"),
    ],
)
def test_a_run_from_before_a_field_was_renamed(tmp_path, module, new, old):
    """It is recognized as finished, as another configuration, and resumed."""
    if "yolo" in module:
        pytest.importorskip("torch")
    real = importlib.import_module(module).PROGRAM
    calls = []

    def main(config, run):
        calls.append(config)
        run.path("checkpoints").mkdir(exist_ok=True)
        if len(calls) == 1:
            raise DataError("a file", "it is broken", "replace it")
        return Report("T", "H")

    program = dataclasses.replace(real, main=main)
    config = real.config(root=str(tmp_path))
    with pytest.raises(DataError):
        program.run(config)
    file = tmp_path / program.name / "default/config.json"

    def make_old():
        content = json.loads(file.read_text())
        content[old] = content.pop(new)
        file.write_text(json.dumps(content))

    make_old()
    program.run(dataclasses.replace(config, resume=True))
    assert len(calls) == 2
    assert new in json.loads(file.read_text())
    make_old()
    program.run(config)
    assert len(calls) == 2  # it is finished
    other = {"score": "l1", "formats": ("int8",)}[new]
    with pytest.raises(RunError, match=f"another configuration \\({new}: "):
        program.run(dataclasses.replace(config, **{new: other}))
