import os
from pathlib import Path

import pytest

from runtime.engines.cache import EngineCache
from runtime.engines.trust import check_foreign
from runtime.errors import EngineError

posix = pytest.mark.skipif(os.name != "posix", reason="no owners and modes here")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """A cache whose folders are there."""
    for name in ("engines", "runtime", "openvino", "timing", "locks"):
        (tmp_path / "cache" / name).mkdir(mode=0o700, parents=True)
    (tmp_path / "cache").chmod(0o755)
    return EngineCache(tmp_path / "cache")


def refusal(cache: EngineCache) -> str:
    with pytest.raises(EngineError) as refused:
        cache.check(trusted=False)
    cache.check(trusted=True)
    return str(refused.value)


def test_a_cache_that_is_not_there_is_ones_own(tmp_path: Path) -> None:
    EngineCache(tmp_path / "cache").check(trusted=False)


@posix
def test_a_cache_that_others_can_only_read_is_ones_own(cache: EngineCache) -> None:
    cache.check(trusted=False)


@posix
@pytest.mark.parametrize("folder", [".", "engines", "runtime", "openvino", "timing", "locks"])
@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_can_write_to_is_refused(
    cache: EngineCache, folder: str, mode: int
) -> None:
    path = cache.root / folder
    path.chmod(mode)
    message = refusal(cache)
    assert message.startswith(f"{path} can be written to by others (mode {mode:o}); expected ")
    assert "opening an engine can run code" in message
    for remedy in (f"chmod go-w {path}", "SEGX_CACHE", "--trust-engines"):
        assert remedy in message


@posix
@pytest.mark.parametrize(("owner", "refused"), [(0, False), (1000, False), (1001, True)])
def test_only_ones_own_folders_and_those_of_root_are_taken(
    cache: EngineCache, owner: int, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.stat

    def stat(path: Path, **how: bool) -> os.stat_result:
        found = list(real(path, **how))
        found[4] = owner
        return os.stat_result(found)

    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr(Path, "stat", stat)
    if refused:
        assert f"{cache.root} belongs to another user (id 1001)" in refusal(cache)
    else:
        cache.check(trusted=False)


@posix
def test_a_cache_is_made_for_its_owner_whatever_the_umask(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "cache")
    before = os.umask(0)
    try:
        cache.save_runtime("0" * 64, b"compiled")
    finally:
        os.umask(before)
    cache.check(trusted=False)


@pytest.mark.parametrize("trusted", [False, True])
def test_a_folder_of_the_cache_that_is_a_link_is_refused(
    cache: EngineCache, tmp_path: Path, trusted: bool
) -> None:
    (cache.root / "engines").rename(tmp_path / "elsewhere")
    (cache.root / "engines").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match=r"engines is a link; expected a folder"):
        cache.check(trusted=trusted)


def test_the_cache_itself_may_be_a_link(cache: EngineCache, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(cache.root)
    EngineCache(tmp_path / "link").check(trusted=False)


def test_a_folder_from_elsewhere_is_refused_unless_it_is_trusted(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as refused:
        check_foreign(tmp_path, trusted=False)
    message = str(refused.value)
    assert "opening an engine can run code" in message
    assert "--trust-engines" in message
    check_foreign(tmp_path, trusted=True)


def test_a_trusted_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="nowhere is no folder; expected"):
        check_foreign(tmp_path / "nowhere", trusted=True)
