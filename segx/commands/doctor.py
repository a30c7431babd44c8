"""`segx doctor`: what this machine can run, and why not more."""

from pathlib import Path

import typer


def doctor(
    json: Path | None = typer.Option(None, help="Also write the findings to this file."),
) -> None:
    """Show what this machine can run, why not more, and every path that segx writes to.

    Example: segx doctor --json doctor.json
    """
    from runtime.doctor import examine

    from ..console import chosen, done, say, table, write_json
    from ..extras import KEY_MODULES, is_installed

    findings = examine()
    for name, value in findings.machine.items():
        chosen(name, value)
    table(
        ["backend", "usable", "version", "note"],
        [
            [b.name, "yes" if b.usable else "no", b.version or "-", b.note]
            for b in findings.backends
        ],
    )
    if findings.traps:
        table(["in the way", "remedy"], [[trap.found, trap.remedy] for trap in findings.traps])
    extras = {name: is_installed(name) for name in KEY_MODULES}
    table(
        ["extra", "installed", "brings", "remedy"],
        [
            [
                name,
                "yes" if there else "no",
                ", ".join(KEY_MODULES[name]),
                "" if there else f"pip install 'segx[{name}]'",
            ]
            for name, there in extras.items()
        ],
    )
    table(["command", "writes to"], [list(row) for row in findings.writes.items()])
    if json is not None:
        write_json(json, {"findings": findings, "extras": extras})
        done(json, "segx demo")
    else:
        say("next: segx demo")
