"""Write tests/fakes/surfaces/*.json: every public name of each TensorRT's Python bindings.

    python3.11 tools/trt_surfaces.py                  # downloads the wheels, 5 MB
    python3.11 tools/trt_surfaces.py --wheels FOLDER  # takes them from a folder

The bindings are wheels of their own, without the libraries that they call. They import once these
are there, so empty libraries with the missing symbols are linked (needs gcc and nm), and a child
process per wheel imports it and lists classes, members, enums and functions.
"""

import argparse
import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from ctypes import CDLL
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parents[1] / "tests" / "fakes" / "surfaces"
PYTHON = (3, 11)
"""The wheels hold binaries for one Python; surfaces are read from those of this one."""


@dataclass(frozen=True, slots=True)
class Wheel:
    project: str
    version: str
    sha256: str

    @property
    def library(self) -> str:
        return "tensorrt_rtx" if "rtx" in self.project else "tensorrt"

    @property
    def package(self) -> str:
        return f"{self.library}_bindings"

    @property
    def pattern(self) -> str:
        return f"{self.project.replace('-', '_')}-{self.version}-*.whl"


WHEELS = (
    Wheel(
        "tensorrt-cu12-bindings",
        "10.3.0",
        "59ace22d7f2ca1e9dcde2cb0cb5916912cb3cd5a9d72dd7852be0160d9b3a0ee",
    ),
    Wheel(
        "tensorrt-cu12-bindings",
        "10.16.1.11",
        "150ef2b672487e29a8ea916353467c3e199994fb33589167e3641a928e243aa7",
    ),
    Wheel(
        "tensorrt-cu13-bindings",
        "11.4.0.106",
        "d072ac2a095e2be749fefc847adfb25d5ebe70303401df62ede8fe67a59f27fc",
    ),
    Wheel(
        "tensorrt-rtx-cu13-bindings",
        "1.7.1.116",
        "6a4d2bf39a98b71238046b9a9dd22d0e6b146be90cd56ac09f1e068933e4e18d",
    ),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wheels", type=Path, help="folder of the four wheels; else downloaded")
    parser.add_argument("--out", type=Path, default=TARGET)
    parser.add_argument("--describe", metavar="PACKAGE", help="print the names of one package")
    options = parser.parse_args()
    if options.describe:
        print(json.dumps(describe(options.describe)))
        return
    if sys.version_info[:2] != PYTHON:
        found = "{}.{}".format(*sys.version_info[:2])
        sys.exit(f"trt_surfaces: runs on Python {found}; the wheels are for {PYTHON}; use that one")
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.wheels or download(Path(scratch) / "wheels")
        for wheel in WHEELS:
            surface = read_wheel(wheel, folder, Path(scratch) / f"{wheel.library}-{wheel.version}")
            target = options.out / f"{wheel.library}-{wheel.version}.json"
            target.write_text(to_text(surface), encoding="utf-8")
            print(f"wrote {target}: {len(surface['classes'])} classes")


def download(folder: Path) -> Path:
    """Download all wheels; pip refuses one whose hash differs."""
    folder.mkdir()
    wanted = folder / "requirements.txt"
    lines = [f"{w.project}=={w.version} --hash=sha256:{w.sha256}\n" for w in WHEELS]
    for line in lines:  # One by one: two are versions of the same project.
        wanted.write_text(line, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--require-hashes", "-r", str(wanted), "-d", str(folder)]
        subprocess.run(command, check=True)
    return folder


def read_wheel(wheel: Wheel, folder: Path, scratch: Path) -> dict[str, Any]:
    """Check and unpack a wheel, import it beside empty libraries, and list its names."""
    (file,) = sorted(folder.glob(wheel.pattern))
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != wheel.sha256:
        sys.exit(f"trt_surfaces: {file} has sha256 {found}; expected {wheel.sha256}; fetch it anew")
    with zipfile.ZipFile(file) as archive:
        archive.extractall(scratch)
    libraries = scratch / "libraries"
    libraries.mkdir()
    link_empty_libraries(scratch / wheel.package / f"{wheel.library}.so", libraries)
    environment = os.environ | {"PYTHONPATH": str(scratch), "LD_LIBRARY_PATH": str(libraries)}
    # -S: without site-packages, so that an installed TensorRT cannot stand in for the wheel.
    command = [sys.executable, "-S", __file__, "--describe", wheel.package]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    head = {"module": wheel.library, "wheel": file.name, "sha256": wheel.sha256}
    return head | dict(json.loads(done.stdout))


def link_empty_libraries(binary: Path, folder: Path) -> None:
    """Make each library that the binary needs and this machine lacks, with all missing symbols."""
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in missing(binary)))
    for line in output("objdump", "-p", str(binary)).splitlines():
        needed = line.split()[1] if line.split()[:1] == ["NEEDED"] else ""
        if needed and not is_loadable(needed):
            target = str(folder / needed)
            command = ["gcc", "-shared", "-fPIC", f"-Wl,-soname,{needed}", "-o", target]
            subprocess.run([*command, str(source)], check=True)


def missing(binary: Path) -> Iterator[str]:
    """Name the functions that neither Python nor a library of this machine has."""
    here = CDLL(None)
    for line in output("nm", "-D", "--undefined-only", str(binary)).splitlines():
        kind, name = line.split()[-2:]
        # A symbol with a version (`name@GLIBC_2.2.5`) is of a system library; `w` may be absent.
        if kind == "U" and "@" not in name and not hasattr(here, name):
            yield name


def is_loadable(library: str) -> bool:
    try:
        CDLL(library)
    except OSError:
        return False
    return True


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def describe(package: str) -> dict[str, Any]:
    """List the public names of an installed package, by kind; enums with their values."""
    module = importlib.import_module(package)
    classes: dict[str, list[str]] = {}
    bases: dict[str, str] = {}
    enums: dict[str, dict[str, int]] = {}
    constants: dict[str, str | int] = {}
    functions: list[str] = []
    for name, value in public(module):
        if isinstance(value, type):
            add_class(value, classes, enums, constants)
            parent = value.__mro__[1].__name__
            if hasattr(module, parent):
                bases[name] = parent
        elif hasattr(type(value), "__members__"):
            constants[name] = f"{type(value).__qualname__}.{value.name}"
        elif callable(value):
            functions.append(name)
    return {
        "version": module.__version__,
        "classes": classes,
        "bases": bases,
        "enums": enums,
        "constants": constants,
        "functions": functions,
    }


def add_class(
    kind: type,
    classes: dict[str, list[str]],
    enums: dict[str, dict[str, int]],
    constants: dict[str, str | int],
) -> None:
    """Enter a class or enum, and what is nested in it, under its qualified name."""
    name = kind.__qualname__
    members: Mapping[str, Any] | None = getattr(kind, "__members__", None)
    if members is not None:
        enums[name] = {key: int(value) for key, value in members.items()}
        rest = {key for key, _ in public(kind)} - set(members) - {"name", "value"}
        if rest:
            classes[name] = sorted(rest)
        return
    classes[name] = [key for key, _ in public(kind)]
    for key, value in public(kind):
        if isinstance(value, type) and value.__qualname__.startswith(f"{name}."):
            add_class(value, classes, enums, constants)
        elif hasattr(type(value), "__members__"):
            constants[f"{name}.{key}"] = f"{type(value).__qualname__}.{value.name}"
        elif isinstance(value, int):
            constants[f"{name}.{key}"] = value


def public(owner: Any) -> Iterator[tuple[str, Any]]:
    """Names without a leading underscore, sorted; imported modules are not part of the surface."""
    for name in dir(owner):
        value = getattr(owner, name)
        if not name.startswith("_") and type(value).__name__ != "module":
            yield name, value


def to_text(surface: Mapping[str, Any]) -> str:
    """JSON with one line per entry, so that two generations compare line by line."""
    parts = []
    for key, value in surface.items():
        if isinstance(value, dict):
            rows = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in sorted(value.items())]
            parts.append(f"{json.dumps(key)}: {{\n" + ",\n".join(rows) + "\n}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
