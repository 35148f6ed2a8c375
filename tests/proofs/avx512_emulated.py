"""The kernels and the frozen bits with AVX-512 on a CPU that has none: the C library alone, under Bochs.

Bochs emulates a whole machine, so a kernel of Linux starts in it, whose first program runs ours. That takes minutes. On
Debian: bochs, isolinux, syslinux-common, xorriso, and a kernel: one that is installed (linux-image-amd64 or
linux-image-cloud-amd64), or else the second is fetched and unpacked by `apt-get` and `dpkg`, not installed.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "avx512"
PROGRAMS = ("check_kernels", "frozen_bits")
CPU = "corei7_skylake_x"
ISAS = "avx512 avx2 scalar"
LOADER = (Path("/usr/lib/ISOLINUX/isolinux.bin"), Path("/usr/lib/syslinux/modules/bios/ldlinux.c32"))
BIOS = (Path("/usr/share/bochs/BIOS-bochs-latest"), Path("/usr/share/bochs/VGABIOS-lgpl-latest"))
FETCHED = "linux-image-cloud-amd64"


def run(*command: object, folder: Path = ROOT) -> str:
    """Run a command and return what it says; an error, which shows that, if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def kernel() -> Path:
    """Find a kernel of Linux, or fetch one."""
    folders = [BUILD / "fetched" / "boot", Path("/boot")]
    for folder in folders:
        if found := sorted(folder.glob("vmlinuz-*")):
            return found[-1]
    folder = BUILD / "fetched"
    folder.mkdir(parents=True, exist_ok=True)
    depends = re.findall(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", FETCHED))
    run("apt-get", "download", depends[0], folder=folder)
    run("dpkg", "-x", *folder.glob("*.deb"), folder)
    return kernel()


def programs(tools: dict[str, str]) -> dict[str, bytes]:
    """Build what runs in the machine, with nothing else needed there: its files."""
    options = ["-DFASTLSTM_TESTS=ON", "-DCMAKE_EXE_LINKER_FLAGS=-static"]
    if "ninja" in tools:
        options += ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools['ninja']}"]
    run(tools["cmake"], "-S", ROOT, "-B", BUILD / "programs", *options)
    run(tools["cmake"], "--build", BUILD / "programs", "--target", *PROGRAMS)
    first = BUILD / "init"
    run(tools["cc"], "-O2", "-static", ROOT / "tests" / "proofs" / "emulated_init.c", "-o", first)
    files = {name: (BUILD / "programs" / name).read_bytes() for name in PROGRAMS}
    table = (ROOT / "tests" / "data" / "frozen_bits.txt").read_bytes()
    return {"init": first.read_bytes(), "frozen_bits.txt": table, **files}


def archive(files: dict[str, bytes]) -> bytes:
    """Pack files as a kernel's first file system: a cpio archive of the "newc" form, with the console's device."""

    def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
        fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(name) + 1, 0)
        head = b"070701" + "".join(f"{field:08x}" for field in fields).encode() + name.encode() + b"\0"
        return b"".join(part + b"\0" * (-len(part) % 4) for part in (head, data))

    parts = [entry("dev", 0o40755), entry("dev/console", 0o20600, device=(5, 1))]
    parts += [entry(name, 0o100755, data) for name, data in files.items()]
    return b"".join([*parts, entry("TRAILER!!!", 0)])


def image(tools: dict[str, str]) -> Path:
    """Make the disc that the machine starts from."""
    disc = BUILD / "disc"
    disc.mkdir(parents=True, exist_ok=True)
    for path in LOADER:
        shutil.copy(path, disc)
    shutil.copy(kernel(), disc / "kernel")
    (disc / "files").write_bytes(archive(programs(tools)))
    # without XSAVEC and XSAVES, whose sizes Bochs 2.7 has wrong, so that Linux would do without AVX
    words = "console=ttyS0 nokaslr mitigations=off acpi=off pci=off clearcpuid=321,323 panic=1"
    (disc / "isolinux.cfg").write_text(f"default kernel\nlabel kernel\n  append initrd=files {words}\n")
    made = BUILD / "disc.iso"
    start = ["-b", "isolinux.bin", "-c", "boot.cat", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table"]
    run(tools["xorriso"], "-as", "mkisofs", "-quiet", "-o", made, *start, disc)
    return made


def machine(disc: Path) -> str:
    """Describe the machine to Bochs."""
    return f"""
megs: 256
romimage: file={BIOS[0]}
vgaromimage: file={BIOS[1]}
cpu: model={CPU}, count=1, ips=50000000, reset_on_triple_fault=0
ata0-master: type=cdrom, path={disc}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={BUILD / "said.txt"}
display_library: rfb, options="timeout=0"
log: {BUILD / "bochs.log"}
panic: action=fatal
error: action=ignore
info: action=ignore
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
speaker: enabled=0
"""


def emulated(tools: dict[str, str], disc: Path, seconds: float) -> str:
    """Run the machine until it turns itself off, and return what its programs said."""
    said, settings, start = BUILD / "said.txt", BUILD / "bochsrc", BUILD / "start"
    said.unlink(missing_ok=True)
    settings.write_text(machine(disc))
    start.write_text("c\n")  # for a Bochs with a debugger, as Debian's is: go on
    command = [tools["bochs"], "-q", "-f", str(settings), "-rc", str(start)]
    nothing = subprocess.DEVNULL
    bochs = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
    try:
        bochs.wait(seconds)
    except subprocess.TimeoutExpired:
        print(f"not done after {seconds:g} s", file=sys.stderr)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(bochs.pid, signal.SIGKILL)  # what is called bochs starts another program
    return said.read_text(errors="replace") if said.exists() else ""


def main() -> int:
    """Prove AVX-512 without the hardware."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3600, help="how long the machine may run")
    seconds = parser.parse_args().seconds
    searched = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    names = ("cmake", "ninja", "cc", "bochs", "xorriso")
    tools = {name: path for name in names if (path := shutil.which(name, path=searched))}
    missing = [name for name in names if name not in tools and name != "ninja"]
    missing += [str(path) for path in (*LOADER, *BIOS) if not path.exists()]
    if missing:
        raise SystemExit(f"not installed: {', '.join(missing)}")
    said = emulated(tools, image(tools), seconds)
    good = " on avx512; 0 differ" in said and f" on {ISAS}: the same bits" in said
    good = good and all(f"/{name} ended: 0" in said for name in PROGRAMS)
    print(said if not good else f"{CPU}, emulated: the kernels and the frozen bits on {ISAS}")
    return not good


if __name__ == "__main__":
    raise SystemExit(main())
