"""What is installed, what it says about itself, and that csrc/ builds without Python.

Nothing here needs the network or looks at a clock.
"""

import ast
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import fastlstm
from tests.support import ROOT

PACKAGE = Path(fastlstm.__file__).parent
DISTRIBUTION = importlib.metadata.distribution("fastlstm")
METADATA = DISTRIBUTION.metadata

editable = pytest.mark.skipif(ROOT in PACKAGE.parents and ROOT / "src" in PACKAGE.parents, reason="imported from src/")
source_tree = pytest.mark.skipif(not (ROOT / "CMakeLists.txt").exists(), reason="not in a source tree")


def installed() -> list[Path]:
    """List what the installer put into the package's folder."""
    return [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


# What is installed


@pytest.mark.unsanitized
@editable
def test_installed_size_is_below_3_6_mb() -> None:
    files = [Path(str(file.locate())) for file in DISTRIBUTION.files or []]
    assert files
    ours = {path for path in {*files, *installed()} if path.is_file() and "__pycache__" not in path.parts}
    sizes = {path: path.stat().st_size for path in ours}  # not what pip has Python compile
    # of which the kernels for weights of 16 and 8 bits are 0.9, pictures 0.1, the benchmarks 0.1, traces 0.1
    assert sum(sizes.values()) < 3_600_000, sizes


@editable
def test_installed_files_are_of_known_kinds() -> None:
    kinds = {".py", ".pyi", ".so", ".pyd", ".typed"} | {".html", ".css", ".js"}  # a page of `plot`
    assert [path for path in installed() if path.suffix not in kinds and path.name != "py.typed"] == []


@editable
def test_wheel_puts_nothing_beside_the_package() -> None:
    """But for the command, among the environment's own."""
    inside = ("fastlstm", f"fastlstm-{METADATA['Version']}.dist-info")
    beside = [file for file in DISTRIBUTION.files or [] if file.parts[0] not in inside]
    assert [file.stem for file in beside] == ["fastlstm"]


def test_one_compiled_module() -> None:
    compiled = [path.name for path in installed() if path.suffix in {".so", ".pyd"}]
    assert len(compiled) == 1
    assert compiled[0].startswith("_core.")


def test_every_instruction_set_of_the_architecture_is_built_in() -> None:
    """Whatever this CPU has of them: a wheel is for others, too."""
    from fastlstm import _core

    there = sysconfig.get_platform() if os.name == "nt" else platform.machine()
    names = {"x86_64": ("x86-64-v4", "x86-64-v3"), "amd64": ("x86-64-v4", "x86-64-v3")}
    names |= {"arm64": ("AArch64",), "aarch64": ("AArch64",)}
    data = Path(_core.__file__).read_bytes()
    for name in names.get(there.lower().removeprefix("win-"), ()):
        assert f"{name}: ".encode() in data, name
    assert b"portable C: " in data


def test_types_are_installed() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert (PACKAGE / "_core.pyi").is_file()


def test_stub_and_compiled_module_have_the_same_names() -> None:
    from fastlstm import _core

    stub = ast.parse((PACKAGE / "_core.pyi").read_text(encoding="utf-8"))
    written = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    compiled = {
        name
        for name, value in vars(_core).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == "fastlstm._core"
    }
    assert set(written) == compiled | {name for name in written if hasattr(_core, name)}
    for name, node in written.items():
        for member in getattr(node, "body", []):
            if isinstance(member, ast.FunctionDef) and isinstance(node, ast.ClassDef):
                assert hasattr(getattr(_core, name), member.name), f"{name}.{member.name}"


# What it says about itself


def test_version_is_the_metadata_s() -> None:
    assert fastlstm.__version__ == METADATA["Version"]


def test_numpy_is_the_only_requirement() -> None:
    needed = [requirement for requirement in DISTRIBUTION.requires or [] if "extra ==" not in requirement]
    assert [requirement.partition(">=")[0] for requirement in needed] == ["numpy"]


def test_importing_brings_nothing_but_numpy() -> None:
    """No framework, no dependency of the tests: the standard library, NumPy and fastlstm."""
    code = (
        "import sys, numpy; before = set(sys.modules); import fastlstm; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    # Cython's own bookkeeping is made by the compiled module, not imported
    assert {name for name in names if not name.startswith(("cython", "_cython"))} <= {"fastlstm", "numpy"}


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has a GIL")
def test_importing_does_not_bring_the_gil_back() -> None:
    code = "import sys, fastlstm, fastlstm.reference; print(sys._is_gil_enabled())"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["False"], done.stderr


def test_licence_is_named_and_there() -> None:
    assert METADATA["License-Expression"] == "BSD-3-Clause"
    licences = [file for file in DISTRIBUTION.files or [] if file.name == "LICENSE"]
    assert len(licences) == 1
    assert "Redistribution and use" in licences[0].read_text(encoding="utf-8")


def test_what_an_index_shows_has_no_links_into_the_tree() -> None:
    text = METADATA.get_payload()
    assert isinstance(text, str)
    assert text.startswith("# fastlstm")
    assert re.findall(r"\]\((?!https://)", text) == []


def test_classifiers_name_the_pythons_that_wheels_are_built_for() -> None:
    named = {line.rpartition(" ")[2] for line in METADATA.get_all("Classifier") or [] if ":: Python :: 3." in line}
    assert f"3.{sys.version_info.minor}" in named
    if (ROOT / "pyproject.toml").exists():
        built = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["cibuildwheel"]["build"]
        assert named == {f"3.{tag.removeprefix('cp3').removesuffix('-*')}" for tag in built if not tag.endswith("t-*")}


def test_all_names_what_is_there() -> None:
    assert sorted(fastlstm.__all__) == sorted(set(fastlstm.__all__))
    assert [name for name in fastlstm.__all__ if not hasattr(fastlstm, name)] == []


# The source tree


@source_tree
def test_changelog_has_this_version_or_leads_to_it() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first, *others = re.findall(r"^## \[(.*)", changelog, re.MULTILINE)
    assert first.startswith((f"{fastlstm.__version__}] - 2", "Unreleased]"))
    assert [heading for heading in others if "nreleased" in heading] == []


@source_tree
def test_no_text_installs_from_an_index_what_is_in_none() -> None:
    texts = [path for kind in ("*.md", "*.py", "*.txt") for path in ROOT.rglob(kind)]
    inside = [path for path in texts if path.relative_to(ROOT).parts[0] in ("src", "docs", "examples", "README.md")]
    assert len(inside) > 50
    asked = re.compile(r"pip install [^\n]*\bfastlstm\b(?![./])")
    assert [str(path) for path in inside if asked.search(path.read_text(encoding="utf-8"))] == []


@source_tree
def test_tools_that_judge_the_source_are_pinned() -> None:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    assert [requirement for requirement in groups["check"] if "==" not in requirement] == []


@pytest.mark.skipif(os.name != "nt", reason="see test_c_library.py")
@source_tree
def test_c_core_builds_alone_and_passes_its_own_test(tmp_path: Path) -> None:
    """As a service embeds it: CMake and Visual Studio's Clang, no Python."""
    cmake, ctest = (shutil.which(name) for name in ("cmake", "ctest"))
    if not cmake or not ctest:
        pytest.skip("cmake is missing")
    for command in (
        [cmake, "-S", str(ROOT), "-B", str(tmp_path), "-DFASTLSTM_TESTS=ON", "-T", "ClangCL"],
        [cmake, "--build", str(tmp_path), "--config", "Release"],
        [ctest, "--test-dir", str(tmp_path), "-C", "Release", "--output-on-failure"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
