"""Write constraints/pyXXX.txt: every version that pip resolves for one Python, with all extras.

Run it once with each Python: ``python3.12 tools/lock.py``. Nothing is installed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = "train,export,ort,tensorrt,satellite,dev"
# The driver of the device decides these: CUDA 12 needs cuda-python 12 (pyproject.toml, tensorrt).
UNPINNED = {"cuda-bindings", "cuda-core", "cuda-pathfinder", "cuda-python"}
HEAD = "# Versions that pip resolved for Python {version} on {platform}: tools/lock.py\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--quiet", "--report", str(report), f"{ROOT}[{EXTRAS}]"]
        subprocess.run(command, check=True)
        content = json.loads(report.read_text(encoding="utf-8"))
    pins = sorted(
        (
            f"{item['metadata']['name']}=={item['metadata']['version']}"
            for item in content["install"]
            if "dir_info" not in item["download_info"] and item["metadata"]["name"] not in UNPINNED
        ),
        key=str.lower,
    )
    version = "{}.{}".format(*sys.version_info[:2])
    target = ROOT / "constraints" / f"py{version.replace('.', '')}.txt"
    target.parent.mkdir(exist_ok=True)
    head = HEAD.format(
        version=version, platform=f"{sys.platform} {content['environment']['platform_machine']}"
    )
    target.write_text(head + "\n".join(pins) + "\n", encoding="utf-8")
    print(f"wrote {target.relative_to(ROOT)}: {len(pins)} packages")


if __name__ == "__main__":
    main()
