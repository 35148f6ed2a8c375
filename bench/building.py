"""The C core, built by a compiler of one's choice, in a folder of one's choice."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
WORK = ROOT / "bench" / "contenders" / "compiled.c"


def tool(name: str) -> str:
    """Find a program beside this Python or on the path; ImportError, as a contender raises it, if it is not there."""
    searched = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if (path := shutil.which(name, path=searched)) is None:
        raise ImportError(f"{name} is not installed")
    return path


def lacking(*programs: str) -> str:
    """Say which of some programs is not installed, the first one; "" if all are."""
    try:
        for program in programs:
            tool(program)
    except ImportError as error:
        return str(error)
    return ""


def build(folder: Path, compiler: str, *options: str, flags: tuple[str, ...] = ()) -> Path:
    """Build csrc/ in `folder`, as CMake does by itself, and `compiled.c` with it; return the path of the result.

    Parameters
    ----------
    folder : Path
        Where everything goes.
    compiler : str
        Its command.
    *options : str
        For CMake.
    flags : tuple of str
        For the compiler where it makes the result: "-shared" for a library, nothing for a program.
    """
    cmake, cc = tool("cmake"), tool(compiler)
    settings = [f"-DCMAKE_C_COMPILER={cc}", "-DFASTLSTM_TESTS=OFF", "-DFASTLSTM_PYTHON=OFF", *options]
    if not lacking("ninja"):
        settings += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    _run(cmake, "-S", ROOT, "-B", folder / "core", *settings)
    _run(cmake, "--build", folder / "core", "--target", "fastlstm", "--parallel", str(os.cpu_count() or 1))
    (library,) = (folder / "core").glob("libfastlstm.a")
    made = folder / "compiled"
    sources = f"-I{ROOT / 'csrc'}", WORK, library, "-lm", "-lpthread"
    _run(cc, "-std=c11", "-O2", "-fPIC", *flags, *sources, "-o", made)
    return made


def _run(*command: object) -> None:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
