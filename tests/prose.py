"""Checks the pages: sentences that are too long, and phrases that a reader has to decode.

Run by ``make check``; ``--figures`` prints a table of each page instead: words, sentences, mean and
longest sentence. Code, tables of figures and generated parts are left out.
"""

import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).parents[1]
# In a longer sentence, a reader has lost its beginning. Good manuals have a mean of about 15.
MAX_WORDS = 30
# Each leaves out what it speaks of, or turns the order of a sentence round.
PHRASES = re.compile(
    r"\bas it stands\b|\bas there\b|\bwhere that of\b|\bwhere that is\b|\bof what there is\b"
    r"|\bgo(?:es|ne)? on with\b|\bso many of\b|\bwhat was before\b|\bwhat is trained\b"
    r"|\bof what hypermodel\b|\bis told of\b|\bsays of\b|\btells of\b|\bof one's own\b"
    r"|\bas many as there\b|\bof those that\b|\bthat of the\b|\bwhat there was\b|\bby itself where\b"
    r"|\bmay be left out with\b|\bis there no\b|\bthose of before\b",
    re.IGNORECASE,
)
# The changelog of released versions stays as it was.
RELEASED = re.compile(r"^## 0\.1\.0\n.*", re.DOTALL | re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
GENERATED = re.compile(r"<!-- begin: .*?<!-- end.*?-->", re.DOTALL)
CODE, LINK, IMAGE = (
    re.compile(r"`[^`]*`"),
    re.compile(r"\[([^\]]*)\]\([^)]*\)"),
    re.compile(r"!\[[^\]]*\]\([^)]*\)"),
)
SENTENCE_END = re.compile(r"(?<=[.!?])[)\"'*_]*\s+(?=[^a-z])")
WORD = re.compile(r"[\w'/.,%-]*\w[\w'/.,%-]*")


class Sentence(NamedTuple):
    """A sentence of a page, and the line on which its paragraph begins."""

    line: int
    text: str

    @property
    def words(self) -> int:
        return len(WORD.findall(self.text))


def pages() -> list[Path]:
    """Return the pages that are tracked."""
    words = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listing = subprocess.run(words, cwd=HOME, capture_output=True, text=True, check=True)
    return [
        HOME / name
        for name in listing.stdout.split()
        if name != "docs/commands.md" and (HOME / name).exists()
    ]


def sentences(text: str) -> Iterator[Sentence]:
    """Return the sentences of a page."""
    for pattern in (GENERATED, COMMENT, FENCE, RELEASED):
        text = pattern.sub(lambda found: "\n" * found[0].count("\n"), text)
    for start, paragraph in _paragraphs(text):
        plain = LINK.sub(r"\1", CODE.sub("X", IMAGE.sub("", paragraph)))
        for sentence in SENTENCE_END.split(" ".join(plain.split())):
            if WORD.search(sentence):
                yield Sentence(start, sentence.strip("*_ "))


def _paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Return paragraphs, list items, headings and cells, each with the number of its first line."""
    lines: list[str] = []
    start = 1
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        begins = re.match(r"\s*([-*]|\d+\.|#+|\|)\s", line)
        if (not line.strip() or begins) and lines:
            yield start, " ".join(lines)
            lines = []
        if line.lstrip().startswith("|"):
            yield from ((number, cell) for cell in line.strip().strip("|").split("|"))
        elif line.strip():
            start = start if lines else number
            lines.append(line.strip().lstrip("#-* ") if begins else line.strip())


def problems(path: Path) -> Iterator[str]:
    """Return a line for each sentence of a page that has to be written anew."""
    name = path.relative_to(HOME)
    for line, text in sentences(path.read_text(encoding="utf-8")):
        words = Sentence(line, text).words
        if words > MAX_WORDS:
            yield f"{name}:{line}: {words} words, expected {MAX_WORDS} or fewer: {text}"
        for phrase in PHRASES.findall(text):
            yield f"{name}:{line}: write {phrase!r} in plain words: {text}"


def figures(paths: list[Path]) -> Iterator[str]:
    """Return a Markdown table of the lengths."""
    yield "| page | words | sentences | mean words | over 20 | over 30 | phrases |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for path in paths:
        found = [one for one in sentences(path.read_text(encoding="utf-8")) if one.words > 3]
        lengths = [one.words for one in found] or [0]
        phrases = sum(len(PHRASES.findall(one.text)) for one in found)
        yield (
            f"| {path.relative_to(HOME)} | {sum(lengths)} | {len(lengths)} | {statistics.mean(lengths):.1f} "
            f"| {sum(n > 20 for n in lengths)} | {sum(n > 30 for n in lengths)} | {phrases} |"
        )


def main() -> None:
    """Print what has to be written anew; end with status 1 if there is something."""
    if "--figures" in sys.argv:
        print("\n".join(figures(pages())))
        return
    found = [problem for path in pages() for problem in problems(path)]
    print("\n".join(found), end="\n" if found else "")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
