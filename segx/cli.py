"""The command line: register the commands, and turn a user's error into one line."""

import os
import sys
from collections.abc import Callable

import typer

from . import __version__
from .commands.bench import bench
from .commands.cache import cache
from .commands.data import data
from .commands.demo import demo
from .commands.doctor import doctor
from .commands.evaluate import eval_
from .commands.export import export
from .commands.import_ import import_
from .commands.infer import infer
from .commands.inspect import inspect_bundle
from .commands.sample import sample
from .commands.satellite import satellite
from .commands.train import train

INTERRUPTED = 130
"""Exit code of a command stopped by Ctrl-C, as shells have it."""

COMMANDS: tuple[tuple[str, Callable[..., None]], ...] = (
    ("demo", demo),
    ("sample", sample),
    ("train", train),
    ("import", import_),
    ("export", export),
    ("satellite", satellite),
    ("infer", infer),
    ("eval", eval_),
    ("bench", bench),
    ("inspect", inspect_bundle),
    ("doctor", doctor),
    ("cache", cache),
)
"""Name and function of every command, in the order of the help."""

GROUPS: tuple[tuple[str, typer.Typer], ...] = (("data", data),)
"""Name and commands of every group, which come after the commands."""

MAPPING = ("infer", "bench")
"""Commands that map, in threads of one process."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"segx {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Log what happens, on stderr."),
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Train, export and run dual-input (aerial + Sentinel-2) land-cover segmentation.

    Example: segx demo
    """
    from runtime.heap import share_arenas

    from .console import configure_logging
    from .quiet import quiet_gdal

    if context.invoked_subcommand in MAPPING:
        share_arenas()
    configure_logging(verbose=verbose)
    context.with_resource(quiet_gdal())  # here, as Typer sets a hook of its own before


for _name, _command in COMMANDS:
    app.command(_name)(_command)
for _name, _group in GROUPS:
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command; exit 1 with one line on an error that the user can mend."""
    from runtime.errors import SegxError

    from .extras import remedy

    # GDAL would write lines of its own; what fails is raised, and told in one.
    os.environ.setdefault("CPL_LOG", os.devnull)
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _complain("interrupted")
        raise
    except KeyboardInterrupt:
        _complain("interrupted")
        sys.exit(INTERRUPTED)
    except SegxError as error:
        _complain(str(error))
        sys.exit(1)
    except ModuleNotFoundError as error:
        advice = remedy(error.name or "")
        if advice is None:
            raise
        _complain(advice)
        sys.exit(1)
    except OSError as error:
        if error.errno is None:
            raise
        _complain(_refused(error))
        sys.exit(1)


def _refused(error: OSError) -> str:
    """Say what the operating system refused: a disk, a permission or a file that is gone."""
    return (
        f"{error.filename or 'a file'}: {error.strerror}; expected files that are there, and that "
        "can be read and written; mend that, and run the command again"
    )


def _complain(message: str) -> None:
    """Write one line to stderr, however many the message holds."""
    typer.secho(f"segx: {' '.join(message.split())}", fg="red", err=True)
