"""A hook of MkDocs: the pages at the root of the project become pages of the site."""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# Files at the root, by their pages.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
LINK = re.compile(r"(?<=\]\()(?P<up>(?:\.\./)*)(?P<path>[^)#:\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages at the root; their links into docs/ lead to the pages beside them."""
    for name, page in PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let links to files at the root lead to their pages."""
    depth = page.file.src_uri.count("/")

    def replaced(link: re.Match[str]) -> str:
        target = PAGES.get(link["path"])
        is_root = link["up"] == "../" * (depth + 1) or page.file.src_uri in PAGES.values()
        return "../" * depth + target if target and is_root else link[0]

    return LINK.sub(replaced, markdown)
