from pathlib import Path

import pytest

from runtime.engines.cache import EngineCache
from runtime.errors import ConfigError


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A home folder, and an environment that says nothing else."""
    for name in ("SEGX_CACHE", "SEGX_CACHE_GIB", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/somewhere")
    monkeypatch.setattr("sys.platform", "linux")


@pytest.mark.parametrize(
    ("platform", "environment", "root"),
    [
        ("linux", {}, "/somewhere/.cache/segx"),
        ("linux", {"XDG_CACHE_HOME": "/big"}, "/big/segx"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/somewhere/.cache/segx"),
        ("darwin", {"XDG_CACHE_HOME": "/big"}, "/somewhere/Library/Caches/segx"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/segx/Cache"),
        ("win32", {}, "/somewhere/AppData/Local/segx/Cache"),
        ("linux", {"SEGX_CACHE": "~/mine", "XDG_CACHE_HOME": "/big"}, "/somewhere/mine"),
        ("linux", {"SEGX_CACHE": ""}, "/somewhere/.cache/segx"),
    ],
)
def test_the_cache_lies_where_the_system_keeps_caches(
    platform: str, environment: dict[str, str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert EngineCache().root == Path(root)


def test_a_relative_path_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEGX_CACHE", "engines")
    cache = EngineCache()
    monkeypatch.chdir("/")
    assert cache.root == tmp_path / "engines"


def test_without_a_home_folder_one_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(ConfigError, match=r"home folder .*; expected .*; set SEGX_CACHE"):
        EngineCache()


@pytest.mark.parametrize(("text", "limit"), [("", 20 << 30), ("1", 1 << 30), ("0.5", 1 << 29)])
def test_the_limit_is_given_in_gib(text: str, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGX_CACHE_GIB", text)
    assert EngineCache().limit_bytes == limit


@pytest.mark.parametrize("text", ["much", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEGX_CACHE_GIB", text)
    with pytest.raises(ConfigError, match=f"SEGX_CACHE_GIB is '{text}'; expected a number of GiB"):
        EngineCache()
