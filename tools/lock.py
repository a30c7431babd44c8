"""Write what pip resolves with all extras: versions, and the hashes of their archives.

    python3.12 tools/lock.py                  # constraints/py312.txt and py312.hashes.txt
    python tools/lock.py --hashes 3.10 3.12   # hashes alone, of the versions that are there

    pyXXX.txt           versions, for pip install -c: any system chooses its own archives
    pyXXX.hashes.txt    archives for Linux on x86-64, for pip install --require-hashes --no-deps -r

Run it once with each Python. Nothing is installed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "train,export,ort,tensorrt,satellite,gis,docs,lint,dev"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
# The driver of the device decides these: CUDA 12 needs cuda-python 12 (pyproject.toml, tensorrt).
UNPINNED = {"cuda-bindings", "cuda-core", "cuda-pathfinder", "cuda-python"}
# These come as source, which pip cannot build from archives with hashes alone.
UNHASHED = {"tensorrt_rtx_cu13", "tensorrt_rtx_cu13_bindings", "tensorrt_rtx_cu13_libs"}
NEWEST_PATCH = 99
"""Some packages do not take the first releases of a Python."""
NEWEST_GLIBC = 36
"""Minor version of Debian 12's; archives for older systems run on it too."""
SYSTEMS = (
    *(f"manylinux_2_{minor}_x86_64" for minor in range(NEWEST_GLIBC, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
)
HEAD = "# Versions that pip resolved for Python {version} on {platform}: tools/lock.py\n"
HASHES_HEAD = (
    "# Archives of the versions in py{short}.txt for Linux on x86-64: tools/lock.py\n"
    "# pip install --require-hashes --no-deps -r constraints/py{short}.hashes.txt\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--hashes", nargs="+", choices=PYTHONS, help="write these alone")
    versions = parser.parse_args().hashes
    if versions is None:
        versions = ["{}.{}".format(*sys.version_info[:2])]
        write_versions(versions[0])
    for version in versions:
        write_hashes(version)


def write_versions(version: str) -> None:
    content = dry_run(f"{ROOT}[{EXTRAS}]")
    pins = sorted(
        (
            f"{item['metadata']['name']}=={item['metadata']['version']}"
            for item in content["install"]
            if "dir_info" not in item["download_info"] and item["metadata"]["name"] not in UNPINNED
        ),
        key=str.lower,
    )
    machine = content["environment"]["platform_machine"]
    head = HEAD.format(version=version, platform=f"{sys.platform} {machine}")
    write(pins_of(version), head, pins)


def write_hashes(version: str) -> None:
    pins = pins_of(version).read_text(encoding="utf-8").splitlines()
    wanted = [pin for pin in pins if pin[:1] != "#" and pin.partition("==")[0] not in UNHASHED]
    systems = [word for system in SYSTEMS for word in ("--platform", system)]
    # By itself pip would choose the archives that suit the Python that it runs with.
    content = dry_run(
        *("--no-deps", "--only-binary", ":all:", "--target", "nowhere"),
        *("--python-version", f"{version}.{NEWEST_PATCH}"),
        *(*systems, *wanted, *sorted(UNPINNED)),
    )
    hashed = sorted(
        (
            f"{item['metadata']['name']}=={item['metadata']['version']} \\\n"
            f"    --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}"
            for item in content["install"]
        ),
        key=str.lower,
    )
    path = pins_of(version).with_suffix(".hashes.txt")
    write(path, HASHES_HEAD.format(short=version.replace(".", "")), hashed)


def dry_run(*arguments: str) -> Any:
    """What pip would install."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--quiet", "--report", str(report), *arguments]
        subprocess.run(command, check=True)
        return json.loads(report.read_text(encoding="utf-8"))


def pins_of(version: str) -> Path:
    return ROOT / "constraints" / f"py{version.replace('.', '')}.txt"


def write(path: Path, head: str, lines: list[str]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}: {len(lines)} packages")


if __name__ == "__main__":
    main()
