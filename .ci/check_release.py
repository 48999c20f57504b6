"""Check that a tag, built files, CITATION.cff and CHANGELOG.md are of one version: check_release.py vX.Y.Z FILE..."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def faults(tag: str, files: list[str], citation: str, changelog: str) -> list[str]:
    """What is not of the version that the tag names; `files` are names of wheels and source distributions."""
    version = tag.removeprefix("v")
    found = []
    if not re.fullmatch(r"v\d+\.\d+\.\d+", tag):
        found.append(f"the tag {tag} is not of the form vX.Y.Z")
    if not files:
        found.append("there are no files")
    found += [f"{name} is of another version" for name in files if re.split(r"-|\.tar", name)[1] != version]
    if f"\nversion: {version}\n" not in citation:
        found.append(f"CITATION.cff does not have version: {version}")
    if not re.search(rf"^## {re.escape(version)}\b", changelog, re.MULTILINE):
        found.append(f"CHANGELOG.md has no heading '## {version}'")
    return found


def main() -> int:
    tag, *files = sys.argv[1:]
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md")]
    wrong = faults(tag, [Path(each).name for each in files], *texts)
    print("\n".join(wrong) or f"{tag}: {len(files)} files, CITATION.cff and CHANGELOG.md agree")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
