"""examples/service under load for 20 seconds (load.py runs longer ones by hand), and whether one is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.cases import RESOURCES
from tests.service.support import Service, load
from tests.support import EXAMPLES, ROOT, runs

SESSIONS, SECONDS = 20, 20


def test_sessions_are_held_and_memory_stays(tmp_path):
    made = Service(tmp_path)
    clients = made.clients(SESSIONS, int(SECONDS / load.PERIOD))
    memory = asyncio.run(load.load(clients, made.port, SECONDS, 0, made.flags))
    assert [client.got for client in clients] == [len(clients[0].expected)] * SESSIONS
    assert np.concatenate([client.latencies for client in clients]).size == SESSIONS * len(clients[0].expected)
    half = len(memory) // 2
    assert max(memory[half:]) - max(memory[1:half]) < RESOURCES["service, MiB"].most, memory


PROGRAM = """
import sys
from tests.service.support import service
with service(sys.argv[1]) as running:
    print(running.process.pid, flush=True)
    input()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the service of a process that is gone")
def test_killed_run_of_the_tests_leaves_no_service(tmp_path):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, EXAMPLES)))}
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdin=-1, stdout=-1, text=True) as run:
        pid = int(run.stdout.readline())
        assert runs(pid)
        run.kill()
    latest = time.monotonic() + 20
    while runs(pid):
        if time.monotonic() > latest:
            os.kill(pid, signal.SIGKILL)
            pytest.fail("the service is left")
        time.sleep(0.05)
