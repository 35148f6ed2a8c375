"""A contender that fails in the way that the case's name tells; with another name it answers right."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import fastlstm
from fastlstm.bench.contenders import Prepared
from fastlstm.bench.works import Array, Data, Work

label = "rival"


def version() -> str:
    return os.environ["OPENBLAS_NUM_THREADS"]


def prepare(work: Work, data: Data) -> Prepared:
    if "refuses" in work.case.name:
        raise ValueError("no such shape")
    lstm = fastlstm.LSTM(work.case.I, work.case.H)
    lstm.load_state_dict(data.weights)

    def fail(when: str) -> None:
        if f"dies {when}" in work.case.name:
            os.abort()
        if f"hangs {when}" in work.case.name:
            time.sleep(60)
        if f"leaves a child {when}" in work.case.name:
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            Path(os.environ["RIVAL_CHILD"]).write_text(str(child.pid), encoding="ascii")
            os.abort()
        if f"ends slowly {when}" in work.case.name:
            threading.Thread(target=time.sleep, args=(60,)).start()
            raise SystemExit

    alone = 0

    def loop(n: int) -> None:
        nonlocal alone
        alone = alone + 1 if n == 1 else 0
        fail("later")
        if alone > 100:
            fail("singly")
        print("what a rival says")
        for _ in range(n):
            lstm(data.x)

    def answer() -> Array:
        fail("at once")
        result: Array = lstm(data.x)[0]
        return np.zeros_like(result) if "is wrong" in work.case.name else result

    return loop, answer
