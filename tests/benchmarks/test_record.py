"""A benchmark prints its tables and, where it is told to, writes its record."""

from dataclasses import dataclass

from benchmarks.record import show
from benchmarks.results.printed import tables_of
from tfcompress.reporting.record import Start, read_record
from tfcompress.reporting.tables import Table


@dataclass(frozen=True)
class Config:
    rounds: int = 3
    seeds: tuple[int, ...] = (4, 5)
    record: bool = False


def table():
    made = Table(("what", "how much"), title="A benchmark")
    made.add("time", "1.0 s")
    made.total("all", "2.0 s")
    made.note("in turn")
    return made


def test_without_record_it_only_prints(tmp_path, capsys):
    assert len(show(Start.now(), "name", Config(), table(), folder=tmp_path)) == 1
    assert "1.0 s" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_a_table_is_fitted_to_the_console(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tfcompress.reporting.console.WIDTH_OF_A_FILE", 60)
    wide = Table(("what", "why", "bytes"), title="Wide", drop=("bytes",))
    wide.add("a name of its own", "a reason that takes more room than the console has", "123456789")
    show(Start.now(), "name", Config(), wide, folder=tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 60 < wide.width
    assert "reason" in "".join(lines)


def test_the_record_holds_tables_and_settings(tmp_path):
    show(Start.now(), "name", Config(record=True), table(), folder=tmp_path)
    record = read_record(tmp_path / "name.json")
    assert record.name == "name"
    assert record.seeds == (4, 5)
    assert record.measured["settings"] == {"rounds": 3, "seeds": [4, 5]}
    assert not record.transcribed
    (again,) = tables_of(record, "name").values()
    assert again.columns == ("what", "how much")
    assert again.rows == [("time", "1.0 s")]
    assert again.totals == [("all", "2.0 s")]
    assert again.notes == ["in turn"]
