import errno
import os
import sys
from collections.abc import Callable

import pytest
import typer
from typer.testing import CliRunner

from runtime.errors import DataError
from segx import __version__, cli

Fail = Callable[[BaseException], None]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Fail:
    """Make ``main`` run a command that raises an error."""

    def install(error: BaseException) -> None:
        app = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)

        @app.command()
        def broken() -> None:
            raise error

        monkeypatch.setattr(cli, "app", app)
        monkeypatch.setattr(sys, "argv", ["segx"])

    return install


def exit_code() -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_an_error_of_the_user_is_one_line_and_exit_1(
    fail: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(DataError("found a.tif with 3 bands;\nexpected 5; add the elevation"))
    assert exit_code() == 1
    assert capsys.readouterr().err == (
        "segx: found a.tif with 3 bands; expected 5; add the elevation\n"
    )


def test_a_missing_extra_is_one_line_and_exit_1(
    fail: Fail, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("segx.extras.find_spec", lambda name: None)
    fail(ModuleNotFoundError("No module named 'torch'", name="torch.nn"))
    assert exit_code() == 1
    assert capsys.readouterr().err == (
        "segx: torch is not installed; it comes with the extra 'train'; "
        "run: pip install 'segx[train]'\n"
    )


def test_a_missing_module_of_no_extra_keeps_its_traceback(fail: Fail) -> None:
    fail(ModuleNotFoundError("No module named 'nowhere'", name="nowhere"))
    with pytest.raises(ModuleNotFoundError, match="nowhere"):
        cli.main()


def test_a_defect_keeps_its_traceback(fail: Fail) -> None:
    fail(ValueError("shape"))
    with pytest.raises(ValueError, match="shape"):
        cli.main()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES, errno.ENOENT])
def test_what_the_operating_system_refuses_is_one_line_and_exit_1(
    fail: Fail, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    fail(OSError(number, os.strerror(number), "run/metrics.csv"))
    assert exit_code() == 1
    said = capsys.readouterr().err
    assert said.startswith(f"segx: run/metrics.csv: {os.strerror(number)}; expected ")
    assert said.count("\n") == 1


@pytest.mark.parametrize("own", [None, "gdal.log"])
def test_gdal_writes_no_lines_of_its_own_unless_told_where(
    fail: Fail, monkeypatch: pytest.MonkeyPatch, own: str | None
) -> None:
    monkeypatch.setenv("CPL_LOG", own or "")
    if own is None:
        monkeypatch.delenv("CPL_LOG")
    fail(DataError("no"))
    assert exit_code() == 1
    assert os.environ["CPL_LOG"] == (own or os.devnull)


def test_an_error_that_only_calls_itself_one_of_the_system_keeps_its_traceback(fail: Fail) -> None:
    fail(OSError("not from the system"))
    with pytest.raises(OSError, match="not from"):
        cli.main()


def test_an_interruption_is_one_line_and_exit_130(
    fail: Fail, capsys: pytest.CaptureFixture[str]
) -> None:
    fail(KeyboardInterrupt())
    assert exit_code() == 130
    assert capsys.readouterr().err.endswith("segx: interrupted\n")


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_of_a_command_passes(fail: Fail, code: int) -> None:
    fail(typer.Exit(code))
    assert exit_code() == code


def test_wrong_usage_exits_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["segx", "no-such-command"])
    assert exit_code() == 2
    assert "no-such-command" in capsys.readouterr().err


def test_the_version_is_printed() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output == f"segx {__version__}\n"


@pytest.mark.parametrize("name", [name for name, _ in cli.COMMANDS])
def test_the_help_of_every_command_shows_an_example(name: str) -> None:
    result = CliRunner().invoke(cli.app, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: segx {name}" in result.output


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, item.name) for group, app in cli.GROUPS for item in app.registered_commands],
)
def test_the_help_of_every_command_of_a_group_shows_an_example(group: str, name: str) -> None:
    result = CliRunner().invoke(cli.app, [group, name, "--help"])
    assert result.exit_code == 0
    assert f"Example: segx {group} {name}" in result.output
