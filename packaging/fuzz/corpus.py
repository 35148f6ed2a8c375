"""Small good files of every format whose library is installed, for fuzzers to begin with: corpus.py FOLDER."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.files.damage import write_seeds

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
print(*sorted(path.name for path in write_seeds(folder)))
