"""The set-up cell on Colab: what it fetches, what it keeps on Drive; elsewhere it does nothing."""

# ruff: noqa: F811 (fixtures are imported under the names that tests ask for them by)

import json
import sys
from pathlib import Path

import pytest
from archive_server import SEED, SIZES, cache, contents, drawn, encrypt, fakes, leftovers  # noqa: F401

from latentcortex import prebuilt
from latentcortex.prebuilt import archives, colab, fetching


def take(kept):
    return colab.take_or_keep(kept, seed=SEED, sizes=SIZES)


def test_what_is_kept_on_drive_is_taken_in_the_next_session(cache, tmp_path, monkeypatch, drawn):
    kept = tmp_path / "drive" / "latentcortex"
    root = take(kept)
    assert {p.name for p in kept.iterdir()} == {f"{root.name}.zip", "worlds.json"}
    first, written = contents(root), contents(kept)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "next"))
    drawn.clear()
    again = take(kept)
    assert again == tmp_path / "next" / root.name and contents(again) == first and drawn == []
    assert take(kept) == again and contents(kept) == written
    assert cache.exists() and leftovers(tmp_path / "next") == []


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("name", ["zip", "json"])
def test_what_was_cut_on_drive_is_built_and_written_again(tmp_path, monkeypatch, drawn, name):
    kept = tmp_path / "drive"
    root = take(kept)
    whole = contents(kept)[f"{root.name}.zip"]
    (path,) = kept.glob(f"*.{name}")
    path.write_bytes(path.read_bytes()[:100])
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "next"))
    drawn.clear()
    again = take(kept)
    assert drawn and len(contents(kept)[f"{root.name}.zip"]) == len(whole)
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "third"))
    drawn.clear()
    assert contents(take(kept)) == contents(again) and drawn == []


@pytest.mark.usefixtures("cache")
def test_a_drive_that_is_too_slow_or_full_does_not_keep_a_reader_from_the_world(
    tmp_path, monkeypatch, capsys
):
    kept = tmp_path / "drive"
    take(kept)
    written = contents(kept)
    monkeypatch.setattr(fetching, "_FIRST_LOOK", -1)
    table = json.loads((kept / "worlds.json").read_text())
    next(iter(table.values()))["build_seconds"] = 0
    (kept / "worlds.json").write_text(json.dumps(table))
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "next"))
    assert take(kept).is_dir()
    assert "was not taken from Drive, because at" in capsys.readouterr().out
    assert {name: text for name, text in contents(kept).items() if name.endswith("zip")} == {
        name: text for name, text in written.items() if name.endswith("zip")
    }

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(colab, "pack", full)
    assert take(tmp_path / "another").is_dir()
    assert "It was not kept: [Errno 28]" in capsys.readouterr().out


def test_a_drive_that_can_not_be_read_does_not_keep_a_reader_from_the_world(cache, tmp_path, capsys):  # noqa: ARG001
    (tmp_path / "drive" / "worlds.json").mkdir(parents=True)  # reading it is an OSError, as on a lost mount
    assert take(tmp_path / "drive").is_dir()
    assert "It was not kept" in capsys.readouterr().out


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(("name", "method"), [("*.zip", "open"), ("worlds.json", "read_text")])
def test_an_error_of_reading_that_passes_leaves_what_is_on_drive(
    tmp_path, monkeypatch, drawn, capsys, name, method
):
    kept = tmp_path / "drive"
    take(kept)
    written = {path.name: (path.stat().st_ino, path.read_bytes()) for path in kept.iterdir()}
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "next"))
    whole, drawn[:] = getattr(Path, method), []

    def broken(path, *args, **options):
        if path.parent == kept and path.match(name):
            raise OSError(5, "Input/output error")
        return whole(path, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, broken)
        capsys.readouterr()
        assert take(kept).is_dir() and drawn
    (line,) = capsys.readouterr().out.splitlines()
    assert "was not taken from Drive" in line and "Input/output error" in line
    assert {path.name: (path.stat().st_ino, path.read_bytes()) for path in kept.iterdir()} == written


@pytest.mark.usefixtures("cache")
def test_an_archive_that_can_not_be_unpacked_does_not_keep_a_reader_from_the_world(
    tmp_path, monkeypatch, drawn, capsys
):
    kept = tmp_path / "drive"
    take(kept)
    (archive,) = kept.glob("*.zip")
    encrypt(archive)
    table = json.loads((kept / "worlds.json").read_text())
    table[archive.stem]["sha256"] = archives.sha256(archive)
    (kept / "worlds.json").write_text(json.dumps(table))
    monkeypatch.setenv("LATENTCORTEX_CACHE", str(tmp_path / "next"))
    drawn.clear()
    assert take(kept).is_dir() and drawn
    assert "could not be unpacked" in capsys.readouterr().out and leftovers(tmp_path / "next") == []


def test_set_up_does_nothing_outside_colab_and_with_other_data(monkeypatch):
    called = []
    monkeypatch.setattr(colab, "fetch_world", lambda: called.append("fetch"))
    monkeypatch.setattr(colab, "take_or_keep", lambda kept: called.append(kept))
    prebuilt.set_up(), prebuilt.set_up(keep_on_drive=True)
    assert called == []
    drive = type(sys)("google.colab.drive")
    drive.mount = called.append
    module = type(sys)("google.colab")
    module.drive = drive
    monkeypatch.setitem(sys.modules, "google.colab", module)
    monkeypatch.setitem(sys.modules, "google", type(sys)("google"))
    monkeypatch.setenv("LATENTCORTEX_PRESET", "sd14")
    prebuilt.set_up(keep_on_drive=True)
    assert called == []
    monkeypatch.delenv("LATENTCORTEX_PRESET")
    prebuilt.set_up()
    assert called == ["fetch"]
    prebuilt.set_up(keep_on_drive=True)
    assert [str(one) for one in called[1:]] == ["/content/drive", "/content/drive/MyDrive/latentcortex"]
    with pytest.raises(ValueError, match="KEEP_ON_DRIVE is True or False, got 'yes'"):
        prebuilt.set_up("yes")
