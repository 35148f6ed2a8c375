"""Ray Data: how much of each WAV file under a folder is speech.

python -m on_ray.data FOLDER [--workers 2]          (in examples/)
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import ray
from service.audio import read_wav
from service.fetch import fetch
from service.model import RATE, Model

Batch = dict[str, np.ndarray]


class Speech:
    """A worker with its copy of the model."""

    def __init__(self, onnx: bytes) -> None:
        self.model = Model(onnx)

    def __call__(self, batch: Batch) -> Batch:
        """Add to the paths of a batch: how long the clips are, which share of their frames is speech."""
        clips = [read_wav(path) for path in batch["path"]]
        share = [np.mean(answer > 0.5) if len(answer) else 0.0 for answer in self.model.clips(clips)]
        return batch | {"seconds": np.array([len(clip) / RATE for clip in clips]), "speech": np.array(share)}


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="", help="silero_vad_16k_op15.onnx; without it the published one is fetched")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    paths = [{"path": str(path)} for path in sorted(options.folder.rglob("*.wav"))]
    if not paths:
        print(f"There is no WAV file under {options.folder}.", file=sys.stderr)
        return 1
    onnx = Path(options.model).read_bytes() if options.model else fetch()
    ray.init(num_cpus=options.workers, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    start = time.perf_counter()
    pool = ray.data.ActorPoolStrategy(size=options.workers)
    rows = (
        ray.data.from_items(paths, override_num_blocks=options.workers)
        .map_batches(Speech, fn_constructor_args=[onnx], batch_size=16, compute=pool)
        .take_all()
    )
    for row in sorted(rows, key=lambda row: row["path"]):
        print(f"{row['seconds']:8.2f} s  {row['speech']:6.1%} speech  {row['path']}")
    seconds = sum(row["seconds"] for row in rows)
    print(f"{seconds:.0f} s of audio in {time.perf_counter() - start:.1f} s, with what Ray needs to start its workers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
