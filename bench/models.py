"""The innermost loops on AArch64 by llvm-mca's models of CPUs: no clock, no such machine.

    python -m bench.models [gcc|clang|COMMAND]...

For each loop of multiply-adds in the products: instructions, cycles of an iteration by the model, and which part of
them the multiply-adds and the loads of vectors would take by themselves; the greater one is the loop's limit. What is
left to it is the share. llvm-mca 16 or later knows these CPUs; LLVM has no model of Apple's own, and takes an older
one's for the M1.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.building import ROOT, tool
from bench.instructions import COMPILERS

# The CPU as llvm-mca calls it: how many multiply-adds by their type, and how many loads, it begins in a cycle; and how
# many loads a pair of registers is.
CPUS = {"neoverse-v2": ({32: 4, 64: 4}, 3, 2), "apple-m1": ({32: 3, 64: 2}, 2, 1)}
FUNCTIONS = ("panels_product", "rows_piece", "outer_panel")
OPTIONS = ("-std=c11", "-O3", "-DNDEBUG", "-fPIC", "-ffp-contract=off", "-fno-math-errno", f"-I{ROOT / 'csrc'}")
# as CMakeLists.txt has it
OWN = {"gcc": ("-fno-schedule-insns",)}
ITERATIONS = 500
BRANCH = re.compile(r"(?:b|b\.\w+|b\w\w|cbn?z)\s+(?:\w+, )?(\.L\w+)$")


@dataclass(frozen=True, order=True)
class Loop:
    """An innermost loop."""

    function: str
    multiply_adds: int
    body: tuple[str, ...]

    def loads(self, pair: int) -> int:
        """Count the loads, and what is written to memory, which nothing has to be."""
        words = [line.split(maxsplit=1)[0] for line in self.body]
        return sum(pair if word.endswith("p") else 1 for word in words if word.startswith(("ld", "st")))

    def least(self, cpu: str, bits: int) -> float:
        """Tell the cycles that the multiply-adds take by themselves, or the loads, if those take longer."""
        multiply_adds, loads, pair = CPUS[cpu]
        return max(self.multiply_adds / multiply_adds[bits], self.loads(pair) / loads)


def loops(assembly: str) -> Iterator[Loop]:
    """Find the innermost loops that multiply and add, and do not prefetch."""
    lines = [line.strip() for line in assembly.splitlines()]
    labels: dict[str, int] = {}
    function = ""
    for end, line in enumerate(lines):
        if label := re.match(r"([.\w$]+):", line):
            labels[label[1]] = end
            function = function if label[1].startswith(".L") else label[1]
        branch = BRANCH.match(line)
        if not branch or branch[1] not in labels or function not in FUNCTIONS:
            continue
        start = labels[branch[1]]
        body = tuple(text for text in lines[start + 1 : end + 1] if text and text[0] not in "./#" and text[-1] != ":")
        inner = [found for text in body[:-1] if (found := BRANCH.match(text)) and labels.get(found[1], 0) > start]
        count = sum(text.startswith("fmla") for text in body)
        if count >= 8 and not inner and not any(text.startswith(("fadd", "prfm")) for text in body):
            yield Loop(function, count, body)


def cycles(loop: Loop, cpu: str) -> float:
    """Ask the model how long an iteration takes when many follow each other."""
    text = "loop:\n" + "\n".join(re.sub(r"\.L\w+$", "loop", line) for line in loop.body)
    command = [_mca(), "-mtriple=aarch64-linux-gnu", f"-mcpu={cpu}", f"-iterations={ITERATIONS}", "-noalias=true"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    (found,) = re.findall(r"Total Cycles:\s+(\d+)", done.stdout)
    return int(found) / ITERATIONS


@cache
def _mca() -> str:
    names = ("llvm-mca", "llvm-mca-22", "llvm-mca-19", "llvm-mca-16")
    if found := next(filter(_knows, names), None):
        return found
    raise SystemExit(f"one of {', '.join(names)} has to be installed, of LLVM 16 or later")


def _knows(mca: str) -> bool:
    command = [mca, "-mtriple=aarch64-linux-gnu", "-mcpu=neoverse-v2", "-iterations=1"]
    try:
        done = subprocess.run(command, input="nop\n", capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return False
    return done.returncode == 0 and "not a recognized" not in done.stderr


def compiled(compiler: str, bits: int) -> str:
    """Compile the kernels for NEON and return the assembly."""
    command, _, flags = COMPILERS.get(compiler, (compiler, (), ("--target=aarch64-linux-gnu",)))
    options = [*flags, *OPTIONS, *OWN.get(compiler, ()), "-DFASTLSTM_ISA=neon", f"-DREAL_BITS={bits}"]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "kernels.s")
        source = ROOT / "csrc" / "kernels" / "kernels_tmpl.c"
        subprocess.run([tool(command), *options, "-S", source, "-o", made], check=True)
        return made.read_text()


def main() -> None:
    """Print a table in Markdown."""
    head = ["loop", "compiler", "type", "multiply-adds", "registers loaded", "instructions"]
    head += [f"{cpu}: {what}" for cpu in CPUS for what in ("cycles", "of its limit")]
    print("| " + " | ".join(head) + " |\n|" + " ---: |" * len(head))
    for compiler in sys.argv[1:] or list(COMPILERS):
        for bits in (32, 64):
            for loop in sorted(set(loops(compiled(compiler, bits)))):
                row = [loop.function, compiler, f"float{bits}"]
                row += [str(number) for number in (loop.multiply_adds, loop.loads(2), len(loop.body))]
                for cpu in CPUS:
                    took = cycles(loop, cpu)
                    row += [f"{took:.2f}", f"{loop.least(cpu, bits) / took:.0%}"]
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
