"""Energy: what the processor's own counters say (RAPL, through Linux's powercap), where there are any.

They are of whole packages, with whatever else runs there; memory and the rest of the machine are not in them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

POWERCAP = Path("/sys/class/powercap")
# Counters move on about every millisecond: over less than this they say little.
LEAST_SECONDS = 0.004


class Counter(NamedTuple):
    """One package: where its microjoules are read, and where they begin again."""

    name: str
    file: Path
    most: int


def counters(folder: Path = POWERCAP) -> list[Counter]:
    """Find the counters of all packages; those that this user may not read raise PermissionError."""
    found = []
    for zone in sorted(folder.glob("intel-rapl:*")):  # AMD's have the same name
        if zone.name.count(":") > 1:  # a part of a package, which is in it already
            continue
        name = (zone / "name").read_text(encoding="ascii").strip()
        if name.startswith("package"):  # and not psys, which has the packages in it
            file = zone / "energy_uj"
            file.read_text(encoding="ascii")
            found.append(Counter(name, file, int((zone / "max_energy_range_uj").read_text(encoding="ascii"))))
    return found


def available(folder: Path = POWERCAP) -> tuple[list[Counter], str]:
    """Find the counters that can be read, and say what they are of, or why there are none."""
    try:
        found = counters(folder)
    except PermissionError:
        return [], "not measured: this user may not read the counters in /sys/class/powercap"
    except (OSError, ValueError):
        return [], "not measured: the counters in /sys/class/powercap cannot be read"
    if not found:
        return [], "not measured: this system shows no counters (RAPL, in /sys/class/powercap)"
    return found, f"of {', '.join(counter.name for counter in found)}, with all that runs there"


def read(found: Sequence[Counter]) -> list[int]:
    """Read the counters."""
    return [int(counter.file.read_text(encoding="ascii")) for counter in found]


def joules(found: Sequence[Counter], before: Sequence[int], after: Sequence[int]) -> float:
    """Tell what was used between two readings, in which a counter may have begun again once."""
    used = 0
    for counter, first, last in zip(found, before, after, strict=True):
        used += last - first if last >= first else last - first + counter.most
    return used * 1e-6
