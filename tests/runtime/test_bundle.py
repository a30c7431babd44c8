import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.bundle import Bundle, find_newest, open_bundle, read_manifest, sha256_of
from runtime.errors import BundleError


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, to be damaged."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy.segx"))


def change(bundle: Path, **keys: Any) -> Path:
    file = bundle / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **keys}))
    return bundle


def refusal(bundle: Path) -> str:
    with pytest.raises(BundleError) as refused:
        open_bundle(bundle)
    message = str(refused.value)
    assert message.count(";") >= 2, "found; expected; remedy"
    return message


def test_an_opened_bundle_knows_its_model(tiny_bundle: Path) -> None:
    opened = open_bundle(tiny_bundle)
    assert opened.sha256 == sha256_of(tiny_bundle / "manifest.json")
    assert opened.card.name == "tiny"
    assert opened.card.sha256 == opened.sha256
    assert (opened.card.verified, opened.card.toy) == (True, False)
    assert [c.name for c in opened.card.classes][:2] == ["building", "pervious surface"]
    assert opened.file(opened.manifest.parts[0]) == tiny_bundle / "aerial.onnx"
    sizes = sum(path.stat().st_size for path in tiny_bundle.glob("*.onnx"))
    assert opened.size_mib == sizes / 2**20


@pytest.mark.parametrize("name", ["aerial.onnx", "golden.npz"])
def test_a_changed_file_is_named_with_both_hashes(bundle: Path, name: str) -> None:
    content = bytearray((bundle / name).read_bytes())
    content[-1] ^= 1
    (bundle / name).write_bytes(content)
    message = refusal(bundle)
    manifest, _ = read_manifest(bundle)
    assert message.startswith(f"{bundle / name} has sha256 {sha256_of(bundle / name)[:12]}...")
    assert f"expected {manifest.files[name][:12]}..." in message


def test_a_missing_file_is_named(bundle: Path) -> None:
    (bundle / "fusion.onnx").unlink()
    assert refusal(bundle).startswith(f"{bundle / 'fusion.onnx'} is missing; ")


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", "sub/file", "."])
def test_a_path_that_leaves_the_bundle_is_refused(bundle: Path, name: str) -> None:
    (bundle.parent / "outside").write_text("secret")
    manifest, _ = read_manifest(bundle)
    change(bundle, files={**manifest.files, name: sha256_of(bundle.parent / "outside")})
    assert f"lists '{name}', which is a path or a link" in refusal(bundle)


@pytest.mark.parametrize("name", ["", ".."])
def test_a_name_of_no_file_is_refused(bundle: Path, name: str) -> None:
    manifest, _ = read_manifest(bundle)
    change(bundle, files={**manifest.files, name: "0"})
    assert "is missing" in refusal(bundle)


def test_a_file_that_cannot_be_read_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("runtime.bundle.sha256_of", fail)
    assert " cannot be read ([Errno 13] Permission denied" in refusal(bundle)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff\xfe\xff", b"[" * 100_000, b'{"format_version": 1' + b"0" * 9999]
)
def test_a_manifest_that_is_no_json_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "manifest.json").write_bytes(content)
    assert "cannot be read as JSON" in refusal(bundle)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    assert "has no manifest.json; expected a bundle folder NAME.segx" in refusal(tmp_path)
    (tmp_path / "x.onnx").write_bytes(b"x")
    assert "has no manifest.json" in refusal(tmp_path / "x.onnx")
    assert "has no manifest.json" in refusal(tmp_path / "nowhere.segx")


def test_an_unknown_key_changes_nothing_but_the_hash(bundle: Path, tiny_bundle: Path) -> None:
    change(bundle, later="unknown")
    changed, known = open_bundle(bundle), open_bundle(tiny_bundle)
    assert changed.manifest == known.manifest
    assert changed.sha256 != known.sha256


def test_the_newest_is_the_one_made_last_whatever_the_files_say(
    bundle: Path, tmp_path: Path
) -> None:
    make: Callable[..., Path] = lambda name, **keys: change(  # noqa: E731
        Path(shutil.copytree(bundle, tmp_path / name)), **keys
    )
    newest = make("work/deep/b.segx", created="2026-03-01T00:00:00+00:00")
    make("work/a.segx", created="2026-02-01T00:00:00+00:00")
    late = "2026-09-01T00:00:00+00:00"
    make("work/unverified.segx", created=late, verified=False)
    packaged = make("work/toy.segx", created=late)
    make("work/.hidden/c.segx", created=late)
    make("work/.c.segx", created=late)
    make("work/no-suffix", created=late)
    make("work/later.segx", created=late, format_version="2.0")
    (make("work/broken.segx") / "manifest.json").write_text("{")
    assert find_newest(tmp_path / "work", apart_from=packaged) == newest
    assert find_newest(tmp_path / "work") == packaged


def test_nothing_is_found_where_there_is_no_bundle(tmp_path: Path) -> None:
    assert find_newest(tmp_path) is None


def test_a_bundle_is_a_value(tiny_bundle: Path) -> None:
    assert isinstance(open_bundle(tiny_bundle), Bundle)
    assert open_bundle(tiny_bundle) == open_bundle(tiny_bundle)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(bundle: Path, value: float) -> None:
    said = refusal(change(bundle, verification={"miou": value}))
    assert f"it has {json.dumps(value)}, which is no number" in said


@pytest.mark.parametrize("text", ["a\x00b", "\x1b]0;title\x07", "\x9b31m"])
def test_text_that_steers_a_terminal_is_refused(bundle: Path, text: str) -> None:
    for keys in ({"verdict": text}, {"files": {text: "0"}}, {"model": [[text]]}):
        assert "holds control characters" in refusal(change(bundle, **keys))
