"""What a release checks before it is published: packaging/, the workflows, --may-skip. None of it needs a network."""

import hashlib
import importlib.util
import json
import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import fastlstm
from tests.support import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "packaging").exists(), reason="not in a source tree")
workflows = pytest.mark.skipif(not (ROOT / ".github").exists(), reason="archives have no workflows")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "packaging" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


# A release's files

TAGS = (
    "manylinux_2_27_x86_64.manylinux_2_28_x86_64",
    "manylinux_2_27_aarch64.manylinux_2_28_aarch64",
    "musllinux_1_2_x86_64",
    "musllinux_1_2_aarch64",
    "macosx_10_15_x86_64",
    "macosx_11_0_arm64",
    "win_amd64",
    "win_arm64",
)


def complete() -> list[str]:
    wheels = [f"fastlstm-0.1.0-{python}-{tag}.whl" for python in script("check_wheels").pythons() for tag in TAGS]
    return ["fastlstm-0.1.0.tar.gz", *wheels]


def test_a_complete_release_passes() -> None:
    assert script("check_wheels").differences(complete()) == []


def test_wheels_are_of_every_python_that_is_promised() -> None:
    pythons = script("check_wheels").pythons()
    assert {"cp311-cp311", "cp314-cp314t", "cp315-cp315", "cp315-cp315t"} <= set(pythons)


@pytest.mark.parametrize("tag", TAGS)
def test_a_missing_wheel_is_named(tag: str) -> None:
    (said,) = script("check_wheels").differences([name for name in complete() if f"cp314-cp314t-{tag}" not in name])
    assert said.startswith("missing: cp314-cp314t, ")


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ("fastlstm-0.1.0-cp311-cp311-linux_x86_64.whl", "unexpected: fastlstm-0.1.0-cp311-cp311-linux_x86_64.whl"),
        (
            "fastlstm-0.1.0-cp311-cp311-manylinux_2_34_x86_64.whl",
            "unexpected: fastlstm-0.1.0-cp311-cp311-manylinux_2_34_x86_64.whl",
        ),
        ("fastlstm-0.1.0-py3-none-any.whl", "unexpected: fastlstm-0.1.0-py3-none-any.whl"),
        ("fastlstm-0.1.0-cp310-cp310-win_amd64.whl", "not in pyproject.toml: cp310-cp310, Windows x86_64"),
        ("fastlstm-0.1.1.tar.gz", "expected one source archive, and one version, got: 0.1.0, 0.1.1"),
    ],
)
def test_what_does_not_belong_there_is_named(extra: str, expected: str) -> None:
    assert script("check_wheels").differences([*complete(), extra]) == [expected]


def test_a_release_without_its_source_archive_is_refused() -> None:
    assert script("check_wheels").differences(complete()[1:]) == [
        "expected one source archive, and one version, got: 0.1.0"
    ]


# Its tag

MODULE = '__version__ = "1.2.3"\n'
CHANGELOG = "# Changelog\n\n## [1.2.3] - 2027-01-31\n\n## [1.2.2] - 2027-01-01\n"


def test_the_tag_of_this_version_passes() -> None:
    assert script("check_release").wrong("v1.2.3", MODULE, CHANGELOG) == ""


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2.3rc1", "v1.2"])
def test_another_tag_is_refused(tag: str) -> None:
    assert script("check_release").wrong(tag, MODULE, CHANGELOG) == f"the tag is {tag}, but __version__ is 1.2.3"


@pytest.mark.parametrize("heading", ["Unreleased]", "1.2.4] - 2027-01-31", "1.2.3]"])
def test_a_changelog_that_does_not_lead_with_the_version_is_refused(heading: str) -> None:
    changelog = CHANGELOG.replace("1.2.3] - 2027-01-31", heading)
    assert script("check_release").wrong("v1.2.3", MODULE, changelog) == (
        f"CHANGELOG.md should lead with [1.2.3] and its date, got: {heading}"
    )


# Its bill of materials


def test_the_bill_names_the_archive_and_all_that_it_needs(tmp_path: Path) -> None:
    archive = tmp_path / f"fastlstm-{fastlstm.__version__}.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(ROOT / "pyproject.toml", f"fastlstm-{fastlstm.__version__}/pyproject.toml")
    command = [sys.executable, str(ROOT / "packaging" / "sbom.py"), str(archive)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert text == subprocess.run(command, capture_output=True, text=True, check=True).stdout
    bill = json.loads(text)
    about = bill["metadata"]["component"]
    assert about["purl"] == f"pkg:pypi/fastlstm@{fastlstm.__version__}"
    assert about["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(archive.read_bytes()).hexdigest()}]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert [part["name"] for part in bill["components"] if part["scope"] == "required"] == ["numpy"]
    assert {part["name"] for part in bill["components"]} == {
        re.split("[<>=]", each)[0] for each in settings["build-system"]["requires"]
    }


# What builds the extension without a build back end


def test_the_build_for_aarch64_has_all_that_the_extension_is_made_with() -> None:
    """NumPy, too: from it Cython knows what an array is."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {each for each in settings["build-system"]["requires"] if not each.startswith("scikit-build-core")}
    assert needed <= {each for each in settings["dependency-groups"]["aarch64"] if isinstance(each, str)}


# The fuzz targets, without a fuzzer


def test_the_fuzz_target_takes_what_it_begins_with_and_refuses_the_rest(tmp_path: Path) -> None:
    folder = ROOT / "packaging" / "fuzz"
    subprocess.run([sys.executable, str(folder / "corpus.py"), str(tmp_path)], capture_output=True, check=True)
    seeds = sorted(tmp_path.iterdir())
    assert {"plain.npz", "saved.flw", "saved.safetensors"} <= {path.name for path in seeds}
    read = script("fuzz/files_fuzzer").read
    assert [path.name for path in seeds if path.suffix in (".npz", ".flw", ".safetensors") and not read(path)] == []
    cut = tmp_path / "cut"
    for path in seeds:
        cut.write_bytes(path.read_bytes()[:-9])
        assert not read(cut) or path.suffix == ".h5", path.name
    cut.write_bytes(b"neither")
    assert not read(cut)


# The workflows


@workflows
@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.yml")), ids=lambda path: path.name)
def test_actions_are_pinned_by_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)(.*)", path.read_text(encoding="utf-8"))
    assert used
    for action, comment in used:
        if not action.startswith("./"):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{action}: say which version it is"


@workflows
def test_one_action_has_one_version() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml")]
    used = {tuple(action.split("@")) for text in texts for action in re.findall(r"uses: ([^.\s]\S+)", text)}
    assert len(used) == len({name for name, _ in used})


@workflows
def test_what_proves_something_is_run_by_a_workflow() -> None:
    """Each target of the Makefile but those that show, measure or make something for who calls them."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):[^#\n]* ## ", makefile, re.MULTILINE))
    shown = {"help", "demo", "train", "service", "deaf", "bench", "scaling", "precision"}
    shown |= {f"bench-{what}{lesser}" for what in ("bytes", "speed") for lesser in ("", "-lesser")}
    shown |= {"bench-results", "bench-pictures"}  # the tests compare what they make
    apart = {"test-isas", "prove-errors", "keras-files", "clean"}  # ci.yml forces instruction sets; others: for reading
    texts = "".join(path.read_text(encoding="utf-8") for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    run = set(re.findall(r"(?:make|target:) ([a-z0-9-]+)", texts))
    run |= {each for listed in re.findall(r"target: \[(.*)\]", texts) for each in listed.split(", ")}
    assert shown | apart <= targets
    assert targets - shown - apart - run == set()


@workflows
def test_every_emulated_machine_is_named_by_a_workflow() -> None:
    """By name, since a machine that is not named may be missing."""
    text = (ROOT / ".github" / "workflows" / "weekly.yml").read_text(encoding="utf-8")
    named = re.search(r'make bits-elsewhere ARGS="([^"]*)"', text)
    assert named
    proof = (ROOT / "tests" / "proofs" / "bits_elsewhere.py").read_text(encoding="utf-8")
    assert sorted(named[1].split()) == sorted(re.findall(r'^    Machine\(\s*"([a-z0-9-]+)"', proof, re.MULTILINE))


# Tests that are passed by


@pytest.mark.parametrize(
    ("allowed", "status"),
    [("", 0), ("pip install other", 1), ("pip install (other|needed)|no such file", 0), ("file", 1)],
)
def test_a_skip_that_is_not_allowed_fails_the_run(tmp_path: Path, allowed: str, status: int) -> None:
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "test_one.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_skipped(): pytest.skip('no such file')\n"
        "@pytest.mark.xfail\ndef test_expected(): assert False\n"
    )
    (tmp_path / "test_two.py").write_text(
        "import pytest\npytest.importorskip('nowhere', reason='pip install needed')\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-c",
        "/dev/null" if sys.platform != "win32" else "nul",
    ]
    command += [f"--rootdir={tmp_path}", f"--may-skip={allowed}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert ("test_two.py: pip install needed" in done.stdout) == (status == 1)
