import errno

import pytest

from tfcompress.atomic import atomic_path, remove_leftovers, write_bytes, write_text


def test_writes_and_leaves_nothing_behind(tmp_path):
    write_text(tmp_path / "new" / "a.txt", "grüße")
    assert (tmp_path / "new" / "a.txt").read_text(encoding="utf-8") == "grüße"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_suffix_is_kept(tmp_path):
    with atomic_path(tmp_path / "model.keras") as temporary:
        assert temporary.suffix == ".keras"
        temporary.write_text("x")


def test_exception_leaves_the_previous_file(tmp_path):
    write_bytes(tmp_path / "a.bin", b"before")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert (tmp_path / "a.bin").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_full_disk_leaves_the_previous_file(tmp_path):
    write_bytes(tmp_path / "a.bin", b"before")
    with (
        pytest.raises(OSError, match="No space left"),
        atomic_path(tmp_path / "a.bin") as temporary,
    ):
        temporary.write_bytes(b"half")
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"rest")
    assert (tmp_path / "a.bin").read_bytes() == b"before"
    assert len(list(tmp_path.iterdir())) == 1


def test_folder_is_replaced_whole(tmp_path):
    for content in ("old", "new"):
        with atomic_path(tmp_path / "set") as temporary:
            temporary.mkdir()
            (temporary / f"{content}.txt").write_text(content)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["new.txt"]
    assert len(list(tmp_path.iterdir())) == 1


def test_errno_of_full_disk_is_what_we_simulate():
    with pytest.raises(OSError) as caught, open("/dev/full", "wb", buffering=0) as full:
        full.write(b"x")
    assert caught.value.errno == errno.ENOSPC


def test_leftovers_of_a_killed_writer_go(tmp_path):
    (tmp_path / "plots" / ".iou.png.x1.tmp").mkdir(parents=True)
    (tmp_path / "plots" / ".iou.png.x1.tmp" / "iou.png").write_text("half")
    write_text(tmp_path / "kept.txt", "whole")
    remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["kept.txt", "plots"]
