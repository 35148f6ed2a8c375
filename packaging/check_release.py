"""A tag is the version of the sources, and CHANGELOG.md leads with it: python packaging/check_release.py v1.2.3."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def wrong(tag: str, module: str, changelog: str) -> str:
    """Say what does not fit a tag in the text of __init__.py and of the changelog; nothing if all does."""
    match = re.search(r'^__version__ = "(.+)"$', module, re.MULTILINE)
    version = match[1] if match else "not there"
    if tag != f"v{version}":
        return f"the tag is {tag}, but __version__ is {version}"
    first = re.search(r"^## \[(.*)$", changelog, re.MULTILINE)
    if not first or not re.fullmatch(rf"{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", first[1]):
        return f"CHANGELOG.md should lead with [{version}] and its date, got: {first[1] if first else 'no version'}"
    return ""


def main() -> int:
    """Check a tag against this tree."""
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("src/fastlstm/__init__.py", "CHANGELOG.md")]
    said = wrong(sys.argv[1], *texts)
    print(said or f"{sys.argv[1]} it is", file=sys.stderr if said else sys.stdout)
    return bool(said)


if __name__ == "__main__":
    raise SystemExit(main())
