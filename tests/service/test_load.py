"""A short load test of examples/service: 20 seconds; examples/service/load.py runs longer ones by hand."""

import asyncio

import numpy as np

from tests.cases import RESOURCES
from tests.service.support import Service, load

SESSIONS, SECONDS = 20, 20


def test_sessions_are_held_and_memory_stays(tmp_path):
    made = Service(tmp_path)
    clients = made.clients(SESSIONS, int(SECONDS / load.PERIOD))
    memory = asyncio.run(load.load(clients, made.port, SECONDS, 0, made.flags))
    assert [client.got for client in clients] == [len(clients[0].expected)] * SESSIONS
    assert np.concatenate([client.latencies for client in clients]).size == SESSIONS * len(clients[0].expected)
    half = len(memory) // 2
    assert max(memory[half:]) - max(memory[1:half]) < RESOURCES["service, MiB"].most, memory
