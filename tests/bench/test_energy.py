"""Energy: which counters are read, and what is said where there are none."""

import os
from pathlib import Path

import pytest

from fastlstm.bench import energy


def zone(folder: Path, path: str, name: str, value: int) -> None:
    (folder / path).mkdir()
    for file, text in (("name", name), ("energy_uj", str(value)), ("max_energy_range_uj", "1000000")):
        (folder / path / file).write_text(f"{text}\n", encoding="ascii")


def test_packages_count_and_begin_again(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    zone(tmp_path, "intel-rapl:0:0", "core", 7)
    zone(tmp_path, "intel-rapl:1", "psys", 7)
    zone(tmp_path, "intel-rapl:2", "package-1", 999_900)
    found, told = energy.available(tmp_path)
    assert told == "of package-0, package-1, with all that runs there"
    before = energy.read(found)
    assert before == [100, 999_900]
    assert energy.joules(found, before, [300, 50]) == pytest.approx((200 + 150) * 1e-6)


def test_why_there_is_none(tmp_path: Path) -> None:
    assert energy.available(tmp_path / "nowhere") == (
        [],
        "not measured: this system shows no counters (RAPL, in /sys/class/powercap)",
    )
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").write_text("?", encoding="ascii")
    assert energy.available(tmp_path)[1].startswith("not measured: the counters")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_counters_of_root_alone(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 100)
    (tmp_path / "intel-rapl:0" / "energy_uj").chmod(0)
    assert energy.available(tmp_path) == (
        [],
        "not measured: this user may not read the counters in /sys/class/powercap",
    )
