"""The installed C library: what is in it, and programs in C and C++ built on it, which must give Python's bits."""

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from textgen import fetch

import fastlstm
from fastlstm import _core
from fastlstm.files import _flat
from fastlstm.files._save import write_layers
from tests.cases import Array
from tests.docs import memory
from tests.support import EXAMPLES, ROOT, assert_same_bits

SEARCHED = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
TOOLS = {name: shutil.which(name, path=SEARCHED) for name in ("cmake", "ctest", "ninja", "pkg-config", "nm")}
COMPILERS = {
    language: shutil.which(os.environ.get(variable, name))
    for language, variable, name in (("c", "CC", "cc"), ("c++", "CXX", "c++"))
}
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
# the sanitizers' run-time library is for the process that it was preloaded into, not for compilers and what they make
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}

pytestmark = [
    pytest.mark.unsanitized,
    pytest.mark.skipif(os.name == "nt", reason="builds with a Unix compiler's options"),
    pytest.mark.skipif(not TOOLS["cmake"], reason="pip install cmake ninja"),
    pytest.mark.skipif(not all(COMPILERS.values()), reason="needs a C and a C++ compiler"),
]


def run(*command: Any, fails: bool = False, **more: str) -> str:
    """Run a command and return what it says; it has to succeed, or with `fails` to end with status 1."""
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | more,
        timeout=600,
        check=False,
    )
    assert done.returncode == int(fails), f"exit status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stderr if fails else done.stdout


def cmake(source: Path, build: Path, *options: str, target: str = "all") -> None:
    """Configure and build."""
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS['ninja']}"] if TOOLS["ninja"] else []
    compilers = [f"-DCMAKE_C_COMPILER={COMPILERS['c']}", f"-DCMAKE_CXX_COMPILER={COMPILERS['c++']}"]
    run(TOOLS["cmake"], "-S", source, "-B", build, *generator, *compilers, *options)
    run(TOOLS["cmake"], "--build", build, "--target", target)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the library and its own tests, as a service embeds it: no Python; a warning is an error."""
    build = tmp_path_factory.mktemp("library") / "build"
    cmake(ROOT, build, "-DFASTLSTM_TESTS=ON", "-DCMAKE_C_FLAGS=-Werror", "-DCMAKE_INSTALL_LIBDIR=lib")
    return build


@pytest.fixture(scope="module")
def prefix(built: Path) -> Path:
    """Install the library, and move it: nothing in it may say where it was before."""
    first, moved = built.with_name("first"), built.with_name("moved")
    run(TOOLS["cmake"], "--install", built, "--prefix", first)
    return first.rename(moved)


@pytest.fixture(
    scope="module",
    params=[
        "cmake, static",
        "cmake, shared",
        "FetchContent, static",
        "pkg-config, static",
        "pkg-config, shared",
    ],
)
def programs(request: pytest.FixtureRequest, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Build the C and the C++ program on the installed library."""
    tool, kind = request.param.split(", ")
    source, build = EXAMPLES / "embed", tmp_path_factory.mktemp("embed")
    if tool in ("cmake", "FetchContent"):
        flags = " ".join(WARNINGS)
        where = f"-DCMAKE_PREFIX_PATH={prefix}" if tool == "cmake" else f"-DEMBED_FASTLSTM={ROOT}"
        found = [where, f"-DEMBED_SHARED={'ON' if kind == 'shared' else 'OFF'}"]
        cmake(source, build, *found, f"-DCMAKE_C_FLAGS={flags}", f"-DCMAKE_CXX_FLAGS={flags}")
        return [build / "embed", build / "embed_cpp"]
    flags = package(prefix, "--cflags", "--libs", *(["--static"] if kind == "static" else [])).split()
    if kind == "static":
        flags = [str(prefix / "lib" / "libfastlstm.a") if flag == "-lfastlstm" else flag for flag in flags]
    else:
        flags.append(f"-Wl,-rpath,{prefix / 'lib'}")
    made = []
    for language, standard, file in (("c", "c11", "embed.c"), ("c++", "c++17", "embed.cpp")):
        made.append(build / file.replace(".", "_"))
        run(COMPILERS[language], f"-std={standard}", *WARNINGS, source / file, "-o", made[-1], *flags)
    return made


def package(prefix: Path, *options: str) -> str:
    """Ask pkg-config about the installed library."""
    if not TOOLS["pkg-config"]:
        pytest.skip("needs pkg-config")
    return run(TOOLS["pkg-config"], *options, "fastlstm", PKG_CONFIG_PATH=str(prefix / "lib" / "pkgconfig")).strip()


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_compiler_warns_of_the_library_and_its_tests(compiler: str, tmp_path: Path) -> None:
    """Not the one alone that builds it here: what Clang says, GCC need not say."""
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS['ninja']}"] if TOOLS["ninja"] else []
    options = [f"-DCMAKE_C_COMPILER={compiler}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON", "-DFASTLSTM_TESTS=ON"]
    run(TOOLS["cmake"], "-S", ROOT, "-B", tmp_path, *generator, *options)
    commands = json.loads((tmp_path / "compile_commands.json").read_text(encoding="utf-8"))
    ours = [shlex.split(entry["command"]) for entry in commands if entry["file"].endswith(".c")]
    assert len(ours) > 50
    for command in ours:
        run(*command[: command.index("-o")], *command[command.index("-c") :], "-fsyntax-only", "-Werror")


def test_the_library_passes_its_own_tests(built: Path) -> None:
    run(TOOLS["ctest"], "--test-dir", built, "--output-on-failure")


# ---- the same bits


def expected_output(lstm: fastlstm.LSTM, x: Array) -> bytes:
    """Compute here what the programs write."""
    output, states = lstm(x)
    parts = [output, *states]
    if not lstm.bidirectional:
        stream, pool = lstm.stream(), lstm.pool(20)
        parts += [stream.step(row) for row in x]
        ids: list[int] = []
        for t in range(len(x)):
            if len(ids) < 20:
                ids.append(pool.open())
            parts.append(pool.step(ids, x[t::-1][: len(ids)]))
    return b"".join(part.tobytes() for part in parts)


def assert_programs_agree(programs: list[Path], lstm: fastlstm.LSTM, x: Array, here: Path) -> None:
    """Run the programs on one layer and one sequence, with one thread and with two."""
    weights, source = here / "weights.flw", here / "input.bin"
    fastlstm.save(lstm, weights)
    x.tofile(source)
    expected = expected_output(lstm, x)
    best = _core.isa_names()[0]  # C's own choice: FASTLSTM_HIDE hides from Python alone
    for program in programs:
        for threads in (1, 2):
            target = here / "output.bin"
            said = run(program, weights, source, target, threads)
            assert said.startswith(f"fastlstm {fastlstm.__version__} on {best}: {len(x)} steps, "), said
            got = target.read_bytes()
            assert len(got) == len(expected)
            assert_same_bits(np.frombuffer(got, x.dtype), np.frombuffer(expected, x.dtype), program.name)
            target.unlink()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "proj_size": 9},
        {"bidirectional": True, "num_layers": 2, "bias": False},
        {"dtype": "float64", "num_layers": 3},
        {"form": fastlstm.Form(gate="hard_sigmoid", peepholes=True, clip=2.0)},
    ],
    ids=repr,
)
def test_programs_give_the_bits_of_python(programs: list[Path], options: dict[str, Any], tmp_path: Path) -> None:
    lstm = fastlstm.LSTM(7, 33, seed=3, **options)
    for T in (0, 1, 60):
        x = np.random.default_rng(T).standard_normal((T, 7)).astype(lstm.dtype)
        assert_programs_agree(programs, lstm, x, tmp_path)


def test_programs_run_a_published_model(programs: list[Path], tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="pip install h5py")
    try:
        archive = fetch.fetch()
    except fetch.FetchError as error:
        pytest.skip(str(error))
    model = tmp_path / "weights.hdf5"
    model.write_bytes(fetch.read_member(archive, fetch.WEIGHTS_MEMBER))
    x = np.random.default_rng(0).standard_normal((40, 100)).astype(np.float32)
    for name in ("rnn_1", "rnn_2"):
        lstm = fastlstm.load(model, name)
        assert_programs_agree(programs, lstm, x[:, : lstm.input_size], tmp_path)
        x = lstm(x)[0]


def test_the_example_runs_by_itself(prefix: Path, tmp_path: Path) -> None:
    said = run(sys.executable, EXAMPLES / "embed", "--installed", prefix, "--build", tmp_path)
    assert re.findall("^embed.*", said, re.MULTILINE) == [
        f"{program}: the bits that Python gives" for program in ("embed", "embed_cpp")
    ]


def test_the_call_that_the_header_shows_compiles_and_runs(prefix: Path, tmp_path: Path) -> None:
    header = (prefix / "include" / "fastlstm.h").read_text(encoding="utf-8")
    lines = header.partition("One complete call")[2].partition("One rule")[0].splitlines()[2:]
    body = "\n".join(line.removeprefix(" * ") for line in lines if line.strip(" *"))
    assert "fl_forward(" in body
    source, program = tmp_path / "shown.c", tmp_path / "shown"
    includes = "".join(f"#include <{name}.h>\n" for name in ("fastlstm", "stdio", "stdlib"))
    source.write_text(f"{includes}\nint main(void) {{\n{body}\n  return (int)status;\n}}\n", encoding="utf-8")
    library = prefix / "lib" / "libfastlstm.a"
    flags = ["-std=c11", *WARNINGS, f"-I{prefix / 'include'}", "-pthread"]
    run(COMPILERS["c"], *flags, source, library, "-lm", "-o", program)
    assert run(program) == "ok\n"


@pytest.fixture(name="sizes", scope="module")
def build_sizes(prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the program that tells what every object of a layer takes."""
    program = tmp_path_factory.mktemp("sizes") / "sizes"
    flags = ["-std=c11", *WARNINGS, f"-I{prefix / 'include'}", "-pthread"]
    source = ROOT / "tests" / "native" / "sizes.c"
    run(COMPILERS["c"], *flags, source, prefix / "lib" / "libfastlstm.a", "-lm", "-o", program)
    return program


@pytest.mark.parametrize("T", [1, 300])
@pytest.mark.parametrize("B", [1, 33])
@pytest.mark.parametrize(
    ("I", "H", "P", "L", "D"),
    [(64, 128, 0, 1, 1), (7, 13, 5, 3, 1), (1, 1, 0, 1, 2), (300, 512, 40, 2, 1), (64, 130, 0, 2, 2)],
)
def test_everything_takes_what_the_page_on_memory_says(
    T: int, B: int, I: int, H: int, P: int, L: int, D: int, sizes: Path
) -> None:
    for number, weights in enumerate(("float32", "float16", "bfloat16", "int8", "int8-fast", "float64")):
        bits, kind = (64, 0) if weights == "float64" else (32, number)
        lines = run(sizes, *map(str, (bits, kind, I, H, P, L, D, T, B, 1000))).splitlines()
        told = {what: int(size) for what, size in (line.split() for line in lines)}
        assert len(told) == 3 + 2 * (kind == 0) + 4 * (D == 1)
        expected = memory.sizes(weights, I=I, H=H, P=P, L=L, D=D, T=T, B=B, V=1000, S=1000, N=T)
        assert memory.outside(told, expected) == [], weights


def test_programs_refuse_bad_files(programs: list[Path], tmp_path: Path) -> None:
    weights, source, target = tmp_path / "weights.flw", tmp_path / "input.bin", tmp_path / "output.bin"
    lstm = fastlstm.LSTM(4, 6, seed=0)
    fastlstm.save(lstm, weights)
    good = weights.read_bytes()
    np.zeros((3, 4), np.float32).tofile(source)
    other_order: _flat.ByteOrder = "big" if _flat.native_order() == "little" else "little"
    bad = {
        b"": "not a weight file of fastlstm",
        b"x" * len(good): "not a weight file of fastlstm",
        good[:-1]: "the weight file is shorter or longer than it says",
        good + b"x": "the weight file is shorter or longer than it says",
        good[:100] + bytes([good[100] ^ 1]) + good[101:]: "the weight file is damaged",
        _flat.content(lstm, other_order): "a weight file for machines of the other byte order",
    }
    for program in programs:
        for data, message in bad.items():
            weights.write_bytes(data)
            said = run(program, weights, source, target, fails=True)
            assert said.startswith(f"embed: {weights}: {message}"), said
        weights.write_bytes(good)
        assert "cannot be opened" in run(program, tmp_path / "none", source, target, fails=True)
        source.write_bytes(b"x" * 17)
        assert "is not a whole number of inputs" in run(program, weights, source, target, fails=True)
        np.zeros((3, 4), np.float32).tofile(source)
        assert "threads" in run(program, weights, source, target, 99999, fails=True)
        assert "usage" in run(program, fails=True)


# ---- weights inside of a program

INSIDE = """
#include <stdio.h>
#include <stdlib.h>
#include "decoder.h"
#include "decoder.h"
int main(void) {{
  fl_plan *plan;
  fl_config read;
  const fl_status status = fl_plan_create(&plan, &decoder_config, decoder_weights, NULL);
  if (status != FL_OK || fl_plan_get_config(plan, &read) != FL_OK) return 1;
  static {real} x[{T} * {I}], y[{T} * {width}], h[{h}], c[{c}];
  if (fread(x, sizeof *x, {T} * {I}, stdin) != {T} * {I}) return 1;
  fl_sequence s = {{{T}, 1, x, sizeof *x * {I}, 0, y, sizeof *y * {width}, 0}};
  s.h_n = h;
  s.c_n = c;
  char *raw = (char *)malloc(fl_workspace_size(plan, {T}, 1, 1) + 64);
  if (fl_forward(plan, &s, NULL, raw + 64 - (size_t)raw % 64) != FL_OK) return 1;
  fwrite(y, sizeof *y, {T} * {width}, stdout);
  free(raw);
  fl_plan_destroy(plan);
  return 0;
}}
"""


@pytest.mark.parametrize(("language", "standard"), [("c", "c11"), ("c++", "c++17")])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dtype": "float64", "num_layers": 2, "bidirectional": True, "proj_size": 3},
        {"bias": False, "form": fastlstm.Form(("affine", 0.3, 0.1), "relu", peepholes=True, coupled=True, clip=0.5)},
        {"form": fastlstm.Form(summed=True)},
    ],
    ids=repr,
)
def test_a_header_has_the_weights_inside(
    prefix: Path, tmp_path: Path, language: str, standard: str, options: dict[str, Any]
) -> None:
    lstm, T = fastlstm.LSTM(5, 7, seed=1, **options), 9
    fastlstm.save(lstm, tmp_path / "decoder.npz")
    header = tmp_path / "decoder.h"
    run(sys.executable, "-m", "fastlstm", "convert", tmp_path / "decoder.npz", header, "--to", "c-header")
    x = np.random.default_rng(0).standard_normal((T, 5)).astype(lstm.dtype)
    y, (h, c) = lstm(x)
    real = {"float32": "float", "float64": "double"}[lstm.dtype.name]
    text = INSIDE.format(real=real, T=T, I=5, width=y.shape[1], h=h.size, c=c.size)
    source, program = tmp_path / "inside.x", tmp_path / "inside"
    source.write_text(text, encoding="utf-8")
    flags = [f"-std={standard}", *WARNINGS, "-Wno-missing-field-initializers", f"-I{prefix / 'include'}", "-pthread"]
    run(
        COMPILERS[language],
        "-x",
        language,
        *flags,
        source,
        "-x",
        "none",
        prefix / "lib/libfastlstm.a",
        "-lm",
        "-o",
        program,
    )
    done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True, env=ENVIRONMENT, timeout=60)
    assert_same_bits(np.frombuffer(done.stdout, lstm.dtype), y.ravel(), "y")


@pytest.fixture(scope="module", params=["float32", "float64"])
def service(request: pytest.FixtureRequest, prefix: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the service with a model inside."""
    build = tmp_path_factory.mktemp("service")
    lstm = fastlstm.LSTM(3, 16, num_layers=2, proj_size=5, dtype=request.param, seed=4)
    write_layers({"": lstm}, build / "model.h", "c-header")
    flags = " ".join(WARNINGS)
    cmake(
        EXAMPLES / "embed",
        build,
        f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DEMBED_MODEL={build / 'model.h'}",
        "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_C_FLAGS={flags}",
    )
    fastlstm.save(lstm, build / "model.npz")
    return build / "service"


def answers_of(service: Path, *lines: str) -> list[str]:
    done = subprocess.run(
        [service],
        input="\n".join([*lines, ""]),
        capture_output=True,
        text=True,
        check=True,
        env=ENVIRONMENT,
        timeout=60,
    )
    return done.stdout.splitlines()


def test_the_service_answers_with_the_bits_of_python(service: Path) -> None:
    lstm = fastlstm.load(service.with_name("model.npz"))
    x = np.random.default_rng(1).standard_normal((20, 3)).astype(lstm.dtype)
    lines = [" ".join(repr(float(number)) for number in row) for row in x]
    answers = answers_of(service, *lines, "reset", lines[0].replace(" ", ", "))
    got = np.array([answer.split() for answer in answers[:20]]).astype(lstm.dtype)
    assert_same_bits(got, lstm(x)[0], "the answers")
    assert answers[20:] == ["ok", answers[0]]


def test_the_service_answers_before_it_has_the_next_line(service: Path) -> None:
    with subprocess.Popen(
        [service], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(3):
            process.stdin.write("1 2 3\n")
            process.stdin.flush()
            assert len(process.stdout.readline().split()) == 5
        process.stdin.close()
        assert process.wait(60) == 0


def test_the_service_refuses_what_is_no_sample_and_goes_on(service: Path) -> None:
    wrong = {
        "": "too few numbers",
        "1 2": "too few numbers",
        "1 2 3 4": "too many numbers",
        "1 2 x": "not a number",
        "1 nan 3": "not a finite number",
        "1 2 1e999": "not a finite number",
        "Reset": "not a number",
        "1 2 3\0": "too many numbers",
        "1 2\0 3": "not a number",
        "1 " * 10_000: "the line is too long",
    }
    lines = [*("1 2 3", "3 2 1"), *wrong, "1 2 3"]
    said = answers_of(service, *lines)
    assert said[2 : 2 + len(wrong)] == [f"error: {why}" for why in wrong.values()]
    lstm = fastlstm.load(service.with_name("model.npz"))
    expected = lstm(np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3]], lstm.dtype))[0]
    got = np.array([said[k].split() for k in (0, 1, -1)]).astype(lstm.dtype)
    assert_same_bits(got, expected, "around what was wrong")
    said = subprocess.run(
        [service], input="1 2 3", capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=60
    ).stdout.splitlines()
    assert said == ["error: the line has no end"]


@pytest.mark.skipif(sys.platform != "linux", reason="static programs, and their symbols")
def test_the_service_is_one_small_static_file(service: Path, tmp_path: Path) -> None:
    strip, file = shutil.which("strip"), shutil.which("readelf")
    if not strip or not file:
        pytest.skip("needs the binutils")
    stripped = tmp_path / "service"
    run(strip, "-o", stripped, service)
    assert stripped.stat().st_size < 5_000_000
    assert "NEEDED" not in run(file, "--dynamic", stripped)
    assert "INTERP" not in run(file, "--program-headers", stripped)


# ---- what is installed


def declared() -> set[str]:
    """Functions that the header declares."""
    header = (ROOT / "csrc" / "fastlstm.h").read_text(encoding="utf-8")
    return set(re.findall(r"^FL_API [^;(]*?\b(fl_\w+)\(", header, re.MULTILINE))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at an ELF library")
def test_the_library_shows_what_the_header_declares_and_nothing_else(prefix: Path) -> None:
    if not TOOLS["nm"]:
        pytest.skip("needs nm, of the binutils")
    lines = run(TOOLS["nm"], "-D", "--defined-only", "--with-symbol-versions", prefix / "lib" / "libfastlstm.so")
    shown = dict(line.split()[-1].split("@@") for line in lines.splitlines() if "@@" in line)
    nodes = {line.split()[-1] for line in lines.splitlines() if "@@" not in line}
    assert set(shown) == declared()
    assert len(shown) > 30
    assert all(re.fullmatch(r"FASTLSTM_\d+\.\d+", version) for version in shown.values()), shown
    assert nodes <= set(shown.values()), "something has no version"


def test_everything_that_the_header_declares_is_described() -> None:
    header = (ROOT / "csrc" / "fastlstm.h").read_text(encoding="utf-8")
    groups = [group for group in re.split(r"\n\s*\n", header) if re.search(r"^FL_API", group, re.MULTILINE)]
    assert len(groups) > 20
    assert [group for group in groups if "/*" not in group] == []


@pytest.mark.parametrize(("language", "standard"), [("c", "c11"), ("c", "c17"), ("c++", "c++17"), ("c++", "c++20")])
def test_the_header_stands_alone(prefix: Path, tmp_path: Path, language: str, standard: str) -> None:
    source = tmp_path / "alone.x"
    source.write_text("#include <fastlstm.h>\n#include <fastlstm.h>\nint main(void) { return fl_version() == 0; }\n")
    strict = [*WARNINGS, "-Wshadow", "-Wconversion", *(["-Wstrict-prototypes"] if language == "c" else [])]
    options = [f"-std={standard}", f"-I{prefix / 'include'}", "-fsyntax-only"]
    run(COMPILERS[language], "-x", language, *options, *strict, source)


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("options", [["-std=c++17"], ["-std=c++20"], ["-std=c++17", "-fno-exceptions", "-fno-rtti"]])
def test_the_cpp_header_stands_alone(prefix: Path, tmp_path: Path, compiler: str, options: list[str]) -> None:
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    source = tmp_path / "alone.cpp"
    source.write_text(
        "#include <fastlstm.hpp>\n#include <fastlstm.hpp>\nint main() { return fl_version() == nullptr; }\n"
    )
    strict = [*WARNINGS, "-Wshadow", "-Wconversion", "-Wnon-virtual-dtor", "-Wold-style-cast"]
    run(compiler, *options, *strict, f"-I{prefix / 'include'}", "-fsyntax-only", source)


def test_what_is_installed(prefix: Path) -> None:
    files = {path.relative_to(prefix).as_posix() for path in prefix.rglob("*") if not path.is_dir()}
    text = {
        "include/fastlstm.h",
        "include/fastlstm.hpp",
        "lib/pkgconfig/fastlstm.pc",
        "lib/cmake/fastlstm/fastlstmConfig.cmake",
    }
    assert text <= files
    assert "lib/libfastlstm.a" in files
    assert all(
        re.match(r"(include/fastlstm\.h(pp)?$|lib/(libfastlstm|pkgconfig/|cmake/fastlstm/))", name) for name in files
    )
    assert (prefix / "include" / "fastlstm.h").read_bytes() == (ROOT / "csrc" / "fastlstm.h").read_bytes()
    for name in files:
        if name.endswith((".cmake", ".pc")):
            said = (prefix / name).read_text(encoding="utf-8")
            assert str(prefix.parent) not in said, f"{name} says where it was"
            assert str(ROOT) not in said, f"{name} says where it was built"


def test_pkg_config_says_which_version(prefix: Path) -> None:
    assert package(prefix, "--modversion") == fastlstm.__version__


@pytest.mark.parametrize(
    ("wanted", "fits"), [("0.1", True), (fastlstm.__version__, True), ("0.2", False), ("1", False)]
)
def test_cmake_finds_the_versions_that_fit(prefix: Path, tmp_path: Path, wanted: str, fits: bool) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.20)\nproject(wants LANGUAGES C)\nfind_package(fastlstm {wanted} REQUIRED)\n"
    )
    said = run(
        TOOLS["cmake"], "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}", fails=not fits
    )
    assert fits or "fastlstm" in said


# ---- as a part of another project

PARENT = """cmake_minimum_required(VERSION 3.20)
project(parent LANGUAGES C)
add_library(core INTERFACE)
add_library(kernels_scalar_f32 INTERFACE)
add_custom_target(test_core)
{include}
foreach(name ${{names}})
  if(NOT "${{${{name}}}}" STREQUAL "${{before_${{name}}}}")
    message(FATAL_ERROR "${{name}} has become ${{${{name}}}}")
  endif()
endforeach()
get_directory_property(options COMPILE_OPTIONS)
if(options)
  message(FATAL_ERROR "options that nobody asked for: ${{options}}")
endif()
add_executable(uses uses.c)
target_link_libraries(uses PRIVATE {library})
install(TARGETS uses)
"""

USES = """
#include <stdio.h>
#include <fastlstm.h>
#include <memory.h> /* the system's */
#ifdef __linux__
#include <threads.h>
static mtx_t lock;
#endif
int main(void) {
  float x = 0, y = 1;
  if (!memchr("x", 'x', 1) || fl_sigmoid(NULL, FL_FLOAT32, &x, &y, 1) != FL_OK) return 1;
  printf("%s %g", fl_version(), y);
  return 0;
}
"""

BEFORE = """set(names CMAKE_C_STANDARD CMAKE_C_FLAGS_RELEASE CMAKE_POSITION_INDEPENDENT_CODE CMAKE_C_VISIBILITY_PRESET)
foreach(name ${names})
  set(before_${name} "${${name}}")
endforeach()
"""


@pytest.mark.parametrize(
    ("include", "library", "options", "shared"),
    [
        (f"add_subdirectory({ROOT} fastlstm)", "fastlstm::fastlstm", [], False),
        (f"add_subdirectory({ROOT} fastlstm)", "fastlstm::shared", ["-DCMAKE_UNITY_BUILD=ON"], True),
        (
            "include(FetchContent)\n"
            f"FetchContent_Declare(fastlstm SOURCE_DIR {ROOT})\nFetchContent_MakeAvailable(fastlstm)",
            "fastlstm::fastlstm",
            ["-DBUILD_SHARED_LIBS=ON"],
            True,
        ),
    ],
    ids=["add_subdirectory", "add_subdirectory-shared-UNITY_BUILD", "FetchContent-BUILD_SHARED_LIBS"],
)
def test_another_project_takes_the_library_in(
    tmp_path: Path, include: str, library: str, options: list[str], shared: bool
) -> None:
    (tmp_path / "CMakeLists.txt").write_text(PARENT.format(include=BEFORE + include, library=library))
    (tmp_path / "uses.c").write_text(USES)
    cmake(tmp_path, tmp_path / "build", "-DCMAKE_BUILD_TYPE=Debug", *options)  # compiles in half of the time
    assert run(tmp_path / "build" / "uses") == f"{fastlstm.__version__} 0.5"
    made = {path.suffix for path in (tmp_path / "build").rglob("libfastlstm.*") if not path.is_dir()}
    assert (".a" in made) != shared, "what nobody links with is not built"
    run(TOOLS["cmake"], "--install", tmp_path / "build", "--prefix", tmp_path / "prefix")
    assert [path.name for path in (tmp_path / "prefix").rglob("*") if path.is_file()] == ["uses"]


def test_fast_math_does_not_compile(tmp_path: Path) -> None:
    fast = [f"-DCMAKE_C_COMPILER={COMPILERS['c']}", "-DCMAKE_C_FLAGS=-ffast-math"]
    generator = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS['ninja']}"] if TOOLS["ninja"] else []
    run(TOOLS["cmake"], "-S", ROOT, "-B", tmp_path, *generator, *fast)
    built = subprocess.run(
        [str(TOOLS["cmake"]), "--build", tmp_path], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    assert built.returncode != 0
    assert "cannot be compiled with -ffast-math" in built.stdout + built.stderr


# ---- the exact fma


def nearest(exact: Fraction, dtype: str) -> float:
    """Round a fraction that is not zero to the nearest number of a type, ties to even."""
    info = np.finfo(dtype)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()  # of the size, or one more
    exponent -= abs(exact) < Fraction(2) ** exponent
    place = Fraction(2) ** max(exponent - info.nmant, int(info.minexp) - info.nmant)
    rounded = round(exact / place) * place
    if abs(rounded) > Fraction(float(info.max)):
        return math.inf if exact > 0 else -math.inf
    return float(rounded) or (0.0 if exact > 0 else -0.0)


def exact_fma(a: float, b: float, c: float, dtype: str) -> float:
    """Compute a * b + c with one rounding, by rational arithmetic; zeros, infinities and NaN as IEEE 754 has them."""
    if not all(map(math.isfinite, (a, b, c))):
        return a * b + c if math.isinf(a) or math.isinf(b) or math.isnan(a + b) else c
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact:
        return nearest(exact, dtype)
    sign = math.copysign(1, a) * math.copysign(1, b)
    return math.copysign(0, sign) if c == 0 and sign == math.copysign(1, c) else 0.0


def triples(dtype: str) -> Array:
    """Triples with everything that is hard: bit patterns, cancellation, ties, subnormal results, corners."""
    info, rng = np.finfo(dtype), np.random.default_rng(5)
    tiny, least = float(info.tiny), float(info.smallest_subnormal)
    corners = np.array(
        [0, -0.0, np.inf, -np.inf, np.nan, 1, -1, info.max, -info.max, tiny, -tiny, least, -least, 3], dtype
    )
    n = 4000
    patterns = np.frombuffer(rng.bytes(3 * n * info.bits // 8), dtype).reshape(n, 3)
    near = np.ldexp(rng.integers(-(2**20), 2**20, (n, 3)).astype(dtype), rng.integers(-30, 10, (n, 3)))
    near[:, :2] *= (1 + rng.integers(-9, 9, (n, 2)) * info.eps).astype(dtype)
    with np.errstate(all="ignore"):
        cancelled = near.copy()
        cancelled[:, 2] = -(near[:, 0] * near[:, 1]) * (1 + rng.integers(-2, 3, n) * info.eps).astype(dtype)
        small = near.copy()
        small[:, 0] = np.ldexp(near[:, 0], int(info.minexp) // 2)
        small[:, 1] = np.ldexp(near[:, 1], int(info.minexp) // 2 - rng.integers(0, 40, n))
        small[:, 2] = rng.integers(-9, 9, n) * info.smallest_subnormal * (rng.integers(0, 2, n) > 0)
    # half-way between two numbers, but for a term that is too small for a double to see
    odd = 1 + (2 * rng.integers(0, 99, n) + 1) * info.eps
    ties = np.column_stack([odd, np.full(n, 1.5), rng.choice([-1, 1], n) * np.ldexp(1.0, rng.integers(-120, -60, n))])
    every = np.stack(np.meshgrid(corners, corners, corners), -1).reshape(-1, 3)
    return np.concatenate([patterns, near, cancelled, small, ties.astype(dtype), every])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_exact_fma_rounds_once(tmp_path: Path, dtype: str) -> None:
    program = tmp_path / "fma"
    source = ROOT / "tests" / "native" / "test_fma.c"
    options = ["-std=c11", "-O2", "-ffp-contract=off", *WARNINGS, f"-I{ROOT / 'csrc'}"]
    run(COMPILERS["c"], *options, source, "-o", program, "-lm")
    given = triples(dtype)
    kind = {"float32": "float", "float64": "double"}[dtype]
    done = subprocess.run([program, kind], input=given.tobytes(), capture_output=True, check=True, env=ENVIRONMENT)
    got = np.frombuffer(done.stdout, dtype)
    expected = np.array([exact_fma(*triple, dtype) for triple in given.tolist()], dtype)  # type: ignore[call-arg]
    assert_same_bits(got, expected, "fma")
    finite = np.isfinite(given).all(axis=1) & np.isfinite(expected)
    with np.errstate(all="ignore"):
        twice = given[:, 0] * given[:, 1] + given[:, 2]
    assert np.count_nonzero((twice != expected) & finite) > 1000, "two roundings would have done"
    if dtype == "float32":
        with np.errstate(all="ignore"):
            wide = given.astype(np.float64)
            narrowed = (wide[:, 0] * wide[:, 1] + wide[:, 2]).astype(dtype)
        assert np.count_nonzero((narrowed != expected) & finite) > 1000, "double would have done"
