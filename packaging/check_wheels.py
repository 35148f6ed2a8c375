"""Every wheel that a release has, and no other: python packaging/check_wheels.py FOLDER.

The Pythons are those of [tool.cibuildwheel] in pyproject.toml; each has a wheel for each platform below.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLATFORMS = {  # of Linux none whose glibc is newer than 2.28, the one that is promised
    "manylinux x86_64": r"manylinux_2_(\d|1\d|2[0-8])_x86_64",
    "manylinux aarch64": r"manylinux_2_(\d|1\d|2[0-8])_aarch64",
    "musllinux x86_64": r"musllinux_1_\d+_x86_64",
    "musllinux aarch64": r"musllinux_1_\d+_aarch64",
    "macOS x86_64": r"macosx_\d+_\d+_x86_64",
    "macOS arm64": r"macosx_\d+_\d+_arm64",
    "Windows x86_64": "win_amd64",
    "Windows ARM64": "win_arm64",
}


def pythons() -> list[str]:
    """List the tags of Python and ABI that wheels are built for, as they stand in a wheel's name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    tags = [pattern.removesuffix("-*") for pattern in settings["tool"]["cibuildwheel"]["build"]]
    return [f"{tag.removesuffix('t')}-{tag}" for tag in tags]


def differences(names: list[str]) -> list[str]:
    """Say which wheels are missing among these files, which are too many, and whether the source archive is there."""
    found, said = set(), []
    for name in names:
        if name.endswith(".tar.gz"):
            continue
        match = re.fullmatch(r"fastlstm-[^-]+-(cp\d+-cp\d+t?)-([^-]+)\.whl", name)
        platforms = match and match[2].split(".")
        kinds = {kind for kind, tag in PLATFORMS.items() if platforms and all(re.fullmatch(tag, p) for p in platforms)}
        if not match or not kinds:
            said.append(f"unexpected: {name}")
        found |= {(match[1], kind) for kind in kinds} if match else set()
    wanted = {(python, kind) for python in pythons() for kind in PLATFORMS}
    said += [f"missing: {python}, {kind}" for python, kind in sorted(wanted - found)]
    said += [f"not in pyproject.toml: {python}, {kind}" for python, kind in sorted(found - wanted)]
    versions = {name.split("-")[1].removesuffix(".tar.gz") for name in names}
    if sum(name.endswith(".tar.gz") for name in names) != 1 or len(versions) != 1:
        said.append(f"expected one source archive, and one version, got: {', '.join(sorted(versions))}")
    return said


def main() -> int:
    """Compare a folder's files with what is wanted."""
    names = sorted(path.name for path in Path(sys.argv[1]).iterdir())
    said = differences(names)
    print("\n".join(said) or f"all {len(names) - 1} wheels, and the source archive")
    return bool(said)


if __name__ == "__main__":
    raise SystemExit(main())
