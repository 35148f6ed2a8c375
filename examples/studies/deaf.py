"""A published voice detector that goes deaf in steady noise: docs/deaf.md."""

from __future__ import annotations

import hashlib
from typing import Any

from .record import Study

NOISES = ("white", "pink")
HOUR = 60


def _of(name: str) -> Any:
    def compute(**settings: Any) -> Any:
        from deaf import experiment  # needs the detector, the recordings, and what reads them

        return getattr(experiment, name)(**settings)

    return compute


def noise(kind: str, level: int, seed: int) -> dict[str, Any]:
    """Make the first minute of noise."""
    from deaf import sound

    samples = next(sound.noise(kind, 1, level, seed)).astype("<i2")
    return {
        "sha256": hashlib.sha256(samples.tobytes()).hexdigest(),
        "sum of squares": int((samples.astype("i8") ** 2).sum()),
    }


STUDY: Study = {
    **{f"noise, {kind}": ({"kind": kind, "level": -30, "seed": 0}, noise) for kind in NOISES},
    "short": ({"kind": "white", "minutes": [0, 1, 2], "quieter": 18}, _of("over_time")),
    **{
        f"over time, {kind}": (
            {"kind": kind, "minutes": [0, 1, 2, 5, 10, 20, 30, 45, HOUR], "quieter": 18},
            _of("over_time"),
        )
        for kind in NOISES
    },
    **{
        f"by level, {kind}": ({"kind": kind, "minutes": HOUR, "quieter": [0, 6, 12, 18]}, _of("by_level"))
        for kind in NOISES
    },
    **{
        f"health, {kind}": ({"kind": kind, "minutes": HOUR, "quieter": 18}, _of("judged"))
        for kind in (*NOISES, "speech")
    },
    **{f"knock-outs, {kind}": ({"kind": kind, "minutes": HOUR, "quieter": 18}, _of("knock_outs")) for kind in NOISES},
    **{
        f"policies, {kind}": ({"kind": kind, "minutes": HOUR, "quieter": [0, 18], "seconds": 5}, _of("policies"))
        for kind in NOISES
    },
    **{f"within, {kind}": ({"kind": kind, "minutes": HOUR, "quieter": [0, 6]}, _of("within")) for kind in NOISES},
}
