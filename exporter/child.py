"""Run a program that may crash, hang or take all memory, and say in words how it ended."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_child(command: Sequence[str], *, time_limit_s: float, folder: Path) -> str:
    """Run a program to its end.

    Args:
        command: The program and its arguments.
        time_limit_s: Seconds after which it is ended.
        folder: Where it runs: beside nothing that could be taken for a library, and where files
            may be left.

    Returns:
        Empty if it succeeded, else what went wrong, with the last line that it said.
    """
    try:
        ended = subprocess.run(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=time_limit_s,
            cwd=folder,
            check=False,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return f"took more than {time_limit_s:g} s"
    except OSError as error:
        return f"cannot be started ({error.strerror})"
    if ended.returncode == 0:
        return ""
    lines = [line.strip() for line in ended.stderr.splitlines() if line.strip()]
    code = ended.returncode
    cause = f"signal {-code}" if code < 0 else f"code {code}"
    return f"ended with {cause}: {(lines or ['no message'])[-1][:200]}"
