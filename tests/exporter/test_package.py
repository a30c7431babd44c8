import json
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.export import Exported
from exporter.package import check_target, hashes, publish, staging
from runtime.bundle import open_bundle
from runtime.errors import BundleError, BusyError


@pytest.mark.parametrize("name", ["bundle", "bundle.zip", ".segx"])
def test_a_name_without_the_suffix_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"expected NAME\.segx; change --out"):
        check_target(tmp_path / name)


def test_what_is_no_bundle_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "file.segx"
    file.write_text("mine")
    folder = tmp_path / "folder.segx"
    folder.mkdir()
    check_target(folder)
    (folder / "thesis.txt").write_text("mine")
    for path in (file, folder):
        with pytest.raises(BundleError, match="is there and is no bundle"):
            check_target(path)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "a.segx"
    with pytest.raises(RuntimeError), staging(out) as folder:  # noqa: PT012
        (folder / "aerial.onnx").write_bytes(b"half")
        raise RuntimeError
    assert list(out.parent.iterdir()) == []


def test_a_second_export_of_the_same_name_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "a.segx"
    with staging(out) as folder:
        (folder / "aerial.onnx").write_bytes(b"half")
        with pytest.raises(BusyError, match="by another process"), staging(out):
            pass
        assert (folder / "aerial.onnx").is_file()
        with staging(tmp_path / "b.segx"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_killed_exports_left_is_removed_and_what_they_were_replacing_comes_back(
    tmp_path: Path,
) -> None:
    out = tmp_path / "a.segx"
    for name in (".a.segx.7.part", ".a.segx.7.old", ".a.segx.8.old", ".ba.segx.7.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    with staging(out):
        assert (out / "name").read_text() == ".a.segx.7.old"
    assert {path.name for path in tmp_path.iterdir()} == {"a.segx", ".ba.segx.7.part"}


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(BundleError, match="cannot be written to"),
        staging(tmp_path / "file" / "a.segx"),
    ):
        pass


def fill(folder: Path, exported: Exported) -> None:
    for name in exported.bundle.manifest.files:
        (folder / name).write_bytes((exported.bundle.path / name).read_bytes())


def test_a_bundle_is_replaced_when_the_new_one_is_complete(
    exported: Exported, tmp_path: Path
) -> None:
    out = tmp_path / "a.segx"
    for name in ("first", "second"):
        with staging(out) as folder:
            fill(folder, exported)
            publish(folder, replace(exported.bundle.manifest, name=name), out)
        assert open_bundle(out).manifest.name == name
    assert [path.name for path in tmp_path.iterdir()] == ["a.segx"]


def test_a_damaged_new_bundle_does_not_replace_the_old_one(
    exported: Exported, tmp_path: Path
) -> None:
    out = tmp_path / "a.segx"
    with staging(out) as folder:
        fill(folder, exported)
        publish(folder, exported.bundle.manifest, out)
    with pytest.raises(BundleError, match="sha256"), staging(out) as folder:  # noqa: PT012
        fill(folder, exported)
        (folder / "aerial.onnx").write_bytes(b"spoilt")
        publish(folder, replace(exported.bundle.manifest, name="new"), out)
    assert open_bundle(out).manifest.name == exported.bundle.manifest.name
    assert [path.name for path in tmp_path.iterdir()] == ["a.segx"]


def test_the_old_bundle_comes_back_when_the_rename_fails(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.segx"
    with staging(out) as folder:
        fill(folder, exported)
        publish(folder, exported.bundle.manifest, out)
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError("disk full")
        return rename(self, target)

    with pytest.raises(OSError, match="disk full"), staging(out) as folder:  # noqa: PT012
        fill(folder, exported)
        monkeypatch.setattr(Path, "rename", failing)
        publish(folder, replace(exported.bundle.manifest, name="new"), out)
    assert open_bundle(out).manifest.name == exported.bundle.manifest.name


def test_the_manifest_names_every_other_file_with_its_hash(exported: Exported) -> None:
    folder = exported.bundle.path
    listed = json.loads((folder / "manifest.json").read_text())["files"]
    assert listed == hashes(folder)
    assert set(listed) | {"manifest.json"} == {path.name for path in folder.iterdir()}
