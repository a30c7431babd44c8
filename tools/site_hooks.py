"""Hooks of the documentation site: the pages that lie above docs/ are part of it.

On disk README.md links to `docs/bundle.md`, and pages of docs/ to `../README.md`. On the site the
README is `index.md`, and all pages lie in one folder; links are rewritten so.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]

ABOVE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Files of the project, and their pages."""

LINK = re.compile(r"(?<=\]\()(?!\w+:|#|/)([^)#\s]+)")
"""Path of a relative link, without its anchor."""


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie above docs/."""
    for name, page in ABOVE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=rewritten(text, folder="")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point links of a page of docs/ at pages of the site."""
    if page.file.src_uri in ABOVE.values():
        return markdown
    return rewritten(markdown, folder=posixpath.join("docs", posixpath.dirname(page.file.src_uri)))


def rewritten(markdown: str, *, folder: str) -> str:
    """Rewrite the relative links of a text.

    Args:
        markdown: The text, with links as they are on disk.
        folder: Where it lies, from the root of the project.
    """
    here = posixpath.relpath(folder or "docs", "docs")

    def rewrite(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[1]))
        page = ABOVE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(page, here)

    return LINK.sub(rewrite, markdown)
