"""What is in a release, as a CycloneDX bill of materials: python packaging/sbom.py dist/fastlstm-*.tar.gz > sbom.json.

Nothing of others is bundled. NumPy is needed at run time; the extension has in it what Cython and NumPy's headers make
of its sources. The same archive gives the same text.
"""

import hashlib
import json
import re
import sys
import tarfile
import tomllib
import uuid
from pathlib import Path
from typing import Any


def component(requirement: str, scope: str) -> dict[str, Any]:
    """Describe a package by its requirement, such as numpy>=2.0."""
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    name = match[0].lower().replace("_", "-")
    versions = requirement[match.end() :].partition(";")[0].strip()
    return {
        "type": "library",
        "bom-ref": f"pkg:pypi/{name}",
        "name": name,
        "purl": f"pkg:pypi/{name}",
        "scope": scope,
        "properties": [{"name": "fastlstm:versions", "value": versions or "any"}],
    }


def read(archive: Path) -> tuple[dict[str, Any], str]:
    """Return what pyproject.toml in a source archive says, and the archive's version."""
    with tarfile.open(archive) as tar:
        file = tar.extractfile(f"{archive.name.removesuffix('.tar.gz')}/pyproject.toml")
        assert file is not None
        return tomllib.loads(file.read().decode()), archive.name.removesuffix(".tar.gz").partition("-")[2]


def bill(archive: Path) -> dict[str, Any]:
    """Make the bill of materials of a source archive."""
    settings, version = read(archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    ref = f"pkg:pypi/fastlstm@{version}"
    run = [component(each, "required") for each in settings["project"]["dependencies"]]
    known = {each["bom-ref"] for each in run}
    build = [component(each, "excluded") for each in settings["build-system"]["requires"]]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "library",
                "bom-ref": ref,
                "name": "fastlstm",
                "version": version,
                "purl": ref,
                "description": settings["project"]["description"],
                "licenses": [{"license": {"id": settings["project"]["license"]}}],
                "hashes": [{"alg": "SHA-256", "content": digest}],
            }
        },
        "components": run + [each for each in build if each["bom-ref"] not in known],
        "dependencies": [
            {"ref": ref, "dependsOn": [each["bom-ref"] for each in run]},
            *({"ref": each["bom-ref"]} for each in run),
        ],
    }


def main() -> int:
    """Write it out."""
    json.dump(bill(Path(sys.argv[1])), sys.stdout, indent=2)
    print()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
