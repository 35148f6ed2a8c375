"""What examples/service does when things go wrong: each fault has its answer, and nobody else notices."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

from tests.cases import assert_close
from tests.service.support import Service, load, made_audio, model, service, snapshots, websockets

FRAME_BYTES = 2 * model.FRAME
OPTIONS = {"compression": None, "ping_interval": None, "open_timeout": 60}


def read_snapshot(path):
    return snapshots.read(path, {"contexts": 2 * model.CONTEXT, "recent": 4 * 256})


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = tmp_path_factory.mktemp("service")
    with service(folder, max_message=8192, max_sessions=120, ping_seconds=1.0) as made:
        yield made


async def greeted(ws):
    return json.loads(await ws.recv())


async def answers(ws, count):
    got = b""
    while len(got) < 4 * count:
        got += await ws.recv()
    return np.frombuffer(got, np.float32)


async def code_of(ws):
    """Read on until the connection is closed; return the code."""
    with contextlib.suppress(websockets.ConnectionClosed):
        async with asyncio.timeout(20):
            while True:
                await ws.recv()
    return ws.close_code


def beside_a_neighbour(running, fault):
    """Run `fault` while another client streams, in real time, with every answer checked."""

    async def both():
        (neighbour,) = running.clients(1, 60)
        work = asyncio.ensure_future(neighbour.run())
        await fault()
        await work
        assert (neighbour.got, neighbour.resumed) == (60, 0)

    asyncio.run(both())


def ended(running, token):
    """Tell whether a session is gone for good."""

    async def ask():
        async with websockets.connect(f"{running.url}?token={token}", **OPTIONS) as ws:
            try:
                await ws.recv()
            except websockets.ConnectionClosed:
                return ws.close_code == 4404
            return False

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("message", "code"),
    [("text", 1007), (b"odd", 1007), (bytes(8194), 1009)],
    ids=["text", "half a sample", "too long a message"],
)
def test_a_client_that_sends_garbage_is_closed_and_its_session_ends(running, message, code):
    tokens = []

    async def fault():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            tokens.append((await greeted(ws))["token"])
            await ws.send(made_audio(3).tobytes())
            await answers(ws, 3)
            await ws.send(message)
            assert await code_of(ws) == code

    beside_a_neighbour(running, fault)
    assert ended(running, tokens[0])


def test_bytes_that_are_no_websocket_are_refused(running):
    async def fault():
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(np.random.default_rng(0).bytes(5000) + b"\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()
        await writer.wait_closed()

    beside_a_neighbour(running, fault)


def test_a_client_that_sends_too_fast_waits(running):
    frames = 600
    pcm = made_audio(frames, seed=1)

    async def fault():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            getting = asyncio.ensure_future(answers(ws, frames))
            for start in range(0, len(pcm), 4096):
                await ws.send(pcm[start : start + 4096].tobytes())
            assert_close(await getting, running.model.clips([pcm])[0], "service")

    beside_a_neighbour(running, fault)


@pytest.mark.parametrize("what", ["audio", "pings"])
def test_a_client_that_stops_reading_is_closed(running, what):
    before = running.metric("process_open_fds")

    async def fault():
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.connect(("127.0.0.1", running.port))
        async with websockets.connect(running.url, sock=raw, **OPTIONS) as ws:
            await greeted(ws)
            ws.transport.pause_reading()
            if what == "pings":  # their answers are more than the kernel holds: 25 MB
                ws.transport.write((b"\x89\xfd" + bytes(4 + 125)) * 200_000)
            with contextlib.suppress(websockets.ConnectionClosed):
                while what == "audio":
                    await ws.send(bytes(FRAME_BYTES))
            await asyncio.to_thread(running.until, "process_open_fds", lambda now: now <= before)
            ws.transport.abort()

    def closed():  # in the middle of an answer, or between two
        return running.metric('vad_closed_total{code="1005"}') + running.metric('vad_closed_total{code="1006"}')

    count = closed()
    beside_a_neighbour(running, fault)
    assert closed() == count + 1


def test_a_client_that_is_cut_off_in_a_frame_goes_on_at_that_frame(running):
    pcm = made_audio(20, seed=2)
    expected = running.model.clips([pcm])[0]

    async def fault():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            token = (await greeted(ws))["token"]
            await ws.send(pcm.tobytes()[: 5 * FRAME_BYTES + 300])
            await answers(ws, 5)
            ws.transport.abort()
        while True:
            async with websockets.connect(f"{running.url}?token={token}&have=3", **OPTIONS) as ws:
                try:
                    hello = await greeted(ws)
                except websockets.ConnectionClosed:
                    if ws.close_code == 4409:  # the service has not noticed yet
                        continue
                    raise
                assert hello["frames"] == 5
                await ws.send(pcm[5 * model.FRAME :].tobytes()[:8192])
                assert_close(await answers(ws, 10), expected[3:13], "service")  # what it missed, and 8 new ones
                return

    beside_a_neighbour(running, fault)


def test_one_session_has_one_client(running):
    async def fault():
        async with websockets.connect(running.url, **OPTIONS) as first:
            token = (await greeted(first))["token"]
            async with websockets.connect(f"{running.url}?token={token}", **OPTIONS) as second:
                assert await code_of(second) == 4409
            await first.send(bytes(FRAME_BYTES))
            await answers(first, 1)

    beside_a_neighbour(running, fault)


def test_a_thousand_sessions_that_are_opened_and_left(running):
    async def visit(number):
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            if number % 2:  # a session with a frame waits for its client; one without has nothing to lose
                await ws.send(bytes(FRAME_BYTES))
                await answers(ws, 1)
            ws.transport.abort()

    async def fault():
        for wave in range(20):
            await asyncio.gather(*(visit(number) for number in range(50)))
            assert running.metric("vad_sessions") <= 120, wave
        async with websockets.connect(running.url, **OPTIONS) as ws:  # who is gone makes room
            await greeted(ws)
            await ws.send(bytes(FRAME_BYTES))
            await answers(ws, 1)

    beside_a_neighbour(running, fault)


def test_more_clients_than_sessions_are_sent_away(tmp_path):
    async def fill():
        async with websockets.connect(running.url, **OPTIONS) as first:
            await greeted(first)
            async with websockets.connect(running.url, **OPTIONS) as second:
                assert await code_of(second) == 1013
            await first.close(1000)
        running.until("vad_sessions", lambda count: count == 0)
        async with websockets.connect(running.url, **OPTIONS) as third:
            await greeted(third)

    with service(tmp_path, max_sessions=1) as running:
        asyncio.run(fill())


def test_idle_sessions_are_closed_and_left_ones_expire(tmp_path):
    async def wait():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            assert await code_of(ws) == 4408
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            await ws.send(bytes(FRAME_BYTES))
            await answers(ws, 1)
            ws.transport.abort()

    with service(tmp_path, idle_seconds=0.5, resume_seconds=0.5) as running:
        asyncio.run(wait())
        running.until("vad_sessions", lambda count: count == 0)


def test_a_full_disk_costs_a_snapshot_and_nothing_else(tmp_path):
    async def fault():
        running.until("vad_snapshots_failed_total", lambda count: count == 1)
        running.until("vad_snapshots_total", lambda count: count >= 1)  # there is room again

    with service(tmp_path) as running:
        asyncio.run(running.clients(1, 2)[0].run())
        running.stop()
        old = running.snapshot.read_bytes()
        # Writes to this device fail as on a full disk: ENOSPC.
        running.snapshot.with_name("sessions.npz.tmp").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            snapshots.write(running.snapshot, {"pool": np.zeros(100_000)})
        assert running.snapshot.read_bytes() == old
        running.snapshot.with_name("sessions.npz.tmp").symlink_to("/dev/full")
        running.start()
        beside_a_neighbour(running, fault)


@pytest.mark.parametrize("damage", ["short", "flipped", "empty", "other", "pipe"])
def test_a_damaged_snapshot_is_put_aside(tmp_path, damage):
    with service(tmp_path) as running:
        asyncio.run(_leave(running))
        running.stop()
        data, arrays = bytearray(running.snapshot.read_bytes()), read_snapshot(running.snapshot)
        assert arrays["tokens"].size == 1
        if damage == "flipped":
            data[data.index(arrays["recent"].tobytes())] ^= 1
        if damage == "pipe":
            running.snapshot.unlink()
            os.mkfifo(running.snapshot)
        else:
            running.snapshot.write_bytes({"short": data[:-50], "flipped": data, "empty": b""}.get(damage, b"other"))
        running.start()
        assert running.metric("vad_snapshots_failed_total") == 1
        assert running.metric("vad_sessions") == 0
        assert running.snapshot.with_name("sessions.npz.refused").exists()


def test_a_snapshot_of_more_sessions_than_there_may_be_is_put_aside(tmp_path):
    with service(tmp_path) as running:
        asyncio.run(_leave(running))
        asyncio.run(_leave(running))
        running.stop()
        running.flags += ["--max-sessions", "1"]
        running.start()
        assert running.metric("vad_snapshots_failed_total") == 1
        assert running.snapshot.with_name("sessions.npz.refused").exists()


async def _leave(running):
    async with websockets.connect(running.url, **OPTIONS) as ws:
        await greeted(ws)
        await ws.send(bytes(FRAME_BYTES))
        await answers(ws, 1)
        ws.transport.abort()


def other_ids(arrays):
    arrays["ids"] = arrays["ids"] + 1


def shorter(arrays):
    arrays["frames"] = arrays["frames"][:0]


def not_a_number(arrays):
    arrays["frames"] = arrays["frames"] * np.nan


def no_frames(arrays):
    arrays["frames"] = -arrays["frames"]


def narrow(arrays):
    arrays["contexts"] = arrays["contexts"][:, :3]


def another_model(arrays):
    arrays["model"] = np.array("0" * 64)


def another_format(arrays):
    arrays["format"] = arrays["format"] + 1


def twice(arrays):
    for name in ("tokens", "ids", "frames", "contexts", "recent"):
        arrays[name] = np.concatenate([arrays[name]] * 2)


def another_pool(arrays):
    arrays["pool"] = arrays["pool"][:-9]


def one_more(arrays):
    arrays["more"] = np.zeros(3)


CHANGES = [
    other_ids,
    shorter,
    not_a_number,
    no_frames,
    narrow,
    another_model,
    another_format,
    twice,
    another_pool,
    one_more,
]


@pytest.mark.parametrize("compressed", [False, True])
def test_a_snapshot_that_does_not_fit_is_put_aside(tmp_path, compressed):
    with service(tmp_path) as running:
        asyncio.run(_leave(running))
        running.stop()
        whole = read_snapshot(running.snapshot)
        for change in [lambda arrays: None] if compressed else CHANGES:
            arrays = dict(whole)
            change(arrays)
            (np.savez_compressed if compressed else np.savez)(running.snapshot, **arrays)
            running.start()
            assert running.metric("vad_snapshots_failed_total") == 1, change
            assert running.metric("vad_sessions") == 0, change
            assert running.stop() == 0, change
            assert running.snapshot.with_name("sessions.npz.refused").exists(), change
            running.snapshot.with_name("sessions.npz.refused").unlink()
        np.savez(running.snapshot, **whole)  # as it was written, it does fit
        running.start()
        assert running.metric("vad_sessions") == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_under_load_loses_no_session(tmp_path, how):
    async def run(clients):
        work = asyncio.gather(*(client.run() for client in clients))
        while min(client.got for client in clients) < 20:
            await asyncio.sleep(0.02)
        if how == signal.SIGKILL:  # what no snapshot has is lost with it; so wait for one that has all of them
            saved = running.metric("vad_snapshots_total") + 2
            await asyncio.to_thread(running.until, "vad_snapshots_total", lambda count: count >= saved)
        assert await asyncio.to_thread(running.stop, how) == (0 if how == signal.SIGTERM else -how)
        before = {client.token: client.got for client in clients}
        await asyncio.to_thread(running.start)
        await work
        return before

    with service(tmp_path) as running:
        clients = running.clients(20, 150)
        before = asyncio.run(run(clients))
        assert all(0 < got < 150 for got in before.values())
        assert [(client.got, client.resumed, client.token in before) for client in clients] == [(150, 1, True)] * 20


def test_sigterm_says_why_and_answers_what_has_come(tmp_path):
    async def run():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            await ws.send(made_audio(30).tobytes())
            stopping = asyncio.ensure_future(asyncio.to_thread(running.stop))
            got = await answers(ws, 30)
            assert await code_of(ws) == 1012
            await stopping
            return got

    with service(tmp_path) as running:
        got = asyncio.run(run())
        assert_close(got, running.model.clips([made_audio(30)])[0], "service")
        assert read_snapshot(running.snapshot)["frames"].tolist() == [30]
        assert oct(running.snapshot.stat().st_mode & 0o777) == "0o600"


def test_health_and_metrics(running):
    with urlopen(f"http://127.0.0.1:{running.port}/health") as answer:
        assert json.load(answer)["status"] == "ok"
    count = running.metric("vad_frames_total")
    asyncio.run(running.clients(1, 7)[0].run())
    assert running.metric("vad_frames_total") == count + 7
    assert running.metric("vad_batch_sessions_sum") == count + 7


def get(running, path):
    """Return the status and the JSON of an answer."""
    try:
        with urlopen(f"http://127.0.0.1:{running.port}{path}") as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_ready_says_whether_a_session_would_be_taken(tmp_path):
    async def take_all():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            full = await asyncio.to_thread(get, running, "/ready")
            assert full == (503, {"ready": False, "reasons": ["all sessions are taken"]})
            assert (await asyncio.to_thread(get, running, "/health"))[0] == 200
            await ws.close(1000)

    with service(tmp_path, max_sessions=1) as running:
        assert get(running, "/ready") == (200, {"ready": True, "reasons": []})
        asyncio.run(take_all())
        running.until("vad_sessions", lambda count: count == 0)
        assert get(running, "/ready")[0] == 200


def test_ready_says_that_snapshots_fail(tmp_path):
    with service(tmp_path, snapshot_seconds=0.05) as running:
        running.until("vad_snapshots_total", lambda count: count >= 1)
        while not running.snapshot.is_dir():  # which cannot be replaced by a file; a snapshot may come in between
            running.snapshot.unlink(missing_ok=True)
            with contextlib.suppress(FileExistsError):
                running.snapshot.mkdir()
        running.until("vad_snapshots_failed_total", lambda count: count >= 1)
        assert get(running, "/ready") == (503, {"ready": False, "reasons": ["snapshots fail"]})


@pytest.mark.parametrize("have", ["-1000", "x", "1.5", "9" * 5000])
def test_have_is_a_number_of_probabilities(running, have):
    async def fault():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            token = (await greeted(ws))["token"]
            await ws.send(made_audio(3).tobytes())
            await answers(ws, 3)
            ws.transport.abort()
        for query in (f"?have={have}", f"?token={token}&have={have}"):
            async with websockets.connect(running.url + query, **OPTIONS) as ws:
                assert await code_of(ws) == 1007

    beside_a_neighbour(running, fault)


def test_no_more_comes_back_than_there_was(tmp_path):
    async def run():
        async with websockets.connect(running.url + "?have=0", **OPTIONS) as ws:
            hello = await greeted(ws)
            assert hello["frames"] == 0
            await ws.send(made_audio(3).tobytes())
            first = await answers(ws, 3)
            ws.transport.abort()
        while True:
            async with websockets.connect(f"{running.url}?token={hello['token']}&have=0", **OPTIONS) as ws:
                try:
                    await greeted(ws)
                except websockets.ConnectionClosed:  # the service has not noticed yet
                    continue
                again = np.frombuffer(await ws.recv(), np.float32)
                assert again.tobytes() == first.tobytes()
                return

    with service(tmp_path) as running:
        asyncio.run(run())


def test_silence_before_a_session_costs_nobody_else_a_place(tmp_path):
    """More connections than there may be, silent or with half a request: they go, and a client comes in."""

    async def run():
        silent = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(running.most + 5)]
        for _, writer in silent[::2]:
            writer.write(b"GET /health HTTP/1.1\r\nHost:")
        for reader, writer in silent:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        (client,) = running.clients(1, 5)
        await client.run()

    with service(tmp_path, max_connections=20, handshake_seconds=0.5) as running:
        running.most = 20
        asyncio.run(run())
        assert running.metric('vad_refused_total{reason="connections"}') >= 5
        assert running.metric('vad_refused_total{reason="handshake"}') >= 10


def test_one_address_cannot_take_all_connections(tmp_path):
    async def run():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            others = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(4)]
            closed = 0
            for reader, _ in others[2:]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                closed += 1
            assert closed == 2
            await ws.send(bytes(FRAME_BYTES))
            await answers(ws, 1)
            for _, writer in others:
                writer.close()

    with service(tmp_path, max_per_address=3, handshake_seconds=60) as running:
        running.until("vad_connections", lambda count: count <= 1)
        asyncio.run(run())


def test_a_slow_request_is_not_a_reason_to_cut_a_session(tmp_path):
    """A WebSocket outlives the time that a handshake may take."""

    async def run():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            for _ in range(6):
                await asyncio.sleep(0.1)
                await ws.send(bytes(FRAME_BYTES))
                await answers(ws, 1)

    with service(tmp_path, handshake_seconds=0.2) as running:
        asyncio.run(run())


def test_a_sample_now_and_then_keeps_no_session(tmp_path):
    async def run():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            with contextlib.suppress(websockets.ConnectionClosed):
                for _ in range(200):
                    await ws.send(bytes(2))
                    await asyncio.sleep(0.05)
            assert ws.close_code == 4408

    with service(tmp_path, idle_seconds=0.5) as running:
        asyncio.run(run())


async def refused(url, **options):
    """Return the status that a handshake is refused with; None if it is not."""
    try:
        async with websockets.connect(url, **OPTIONS, **options) as ws:
            await greeted(ws)
    except websockets.InvalidStatus as error:
        return error.response.status_code


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, None),
        ("http://127.0.0.1:{port}", None),  # the service's own page
        ("https://a.example", None),
        ("http://a.example", 403),
        ("http://evil.example", 403),
        ("null", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
def test_other_pages_may_not_stream(tmp_path_factory, running_with_origins, origin, status):
    running = running_with_origins
    origin = origin and origin.format(port=running.port)
    assert asyncio.run(refused(running.url, origin=origin)) == status


@pytest.fixture(scope="module")
def running_with_origins(tmp_path_factory):
    with service(tmp_path_factory.mktemp("origins"), origins="https://a.example, https://b.example") as made:
        yield made


def test_a_key_is_asked_for(tmp_path):
    async def run():
        assert await refused(running.url) == 403
        assert await refused(f"{running.url}?key=wrong") == 403
        assert await refused(running.url, additional_headers={"Authorization": "Bearer wrong"}) == 403
        assert await refused(f"{running.url}?key=sesame") is None
        assert await refused(running.url, additional_headers={"Authorization": "Bearer sesame"}) is None

    with service(tmp_path, access_key="sesame") as running:
        asyncio.run(run())
        assert running.metric('vad_refused_total{reason="key"}') == 3


@pytest.mark.parametrize("key", ["schl\u00fcssel".encode(), b"\xff\xfe"], ids=["umlaut", "no text"])
def test_a_key_may_be_any_bytes(tmp_path, monkeypatch, key):
    async def run():
        assert await refused(running.url) == 403
        assert await refused(f"{running.url}?key=%ff") == 403
        header = {"Authorization": f"Bearer {key.decode('latin-1')}"}
        assert await refused(running.url, additional_headers=header) is None

    monkeypatch.setenv("VAD_ACCESS_KEY", os.fsdecode(key))
    with service(tmp_path) as running:
        asyncio.run(run())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_few_open_files_leave_room_for_snapshots(tmp_path):
    """Silence takes the places that there are, and none of the files that the service itself needs."""
    made = Service(tmp_path, handshake_seconds=30, snapshot_seconds=0.1)
    command = shlex.join([sys.executable, str(load.SERVICE), "--port", str(made.port), *made.flags])
    made.process = subprocess.Popen(["sh", "-c", f"ulimit -n 128; exec {command}"])

    def next_snapshot():
        before, latest = made.snapshot.exists() and made.snapshot.stat().st_mtime_ns, time.monotonic() + 20
        while not made.snapshot.exists() or made.snapshot.stat().st_mtime_ns == before:
            assert made.process.poll() is None
            assert time.monotonic() < latest, "no snapshot in 20 seconds"
            time.sleep(0.05)

    try:
        next_snapshot()  # it has begun to work
        with contextlib.ExitStack() as silent:
            for _ in range(300):
                silent.enter_context(socket.create_connection(("127.0.0.1", made.port)))
            for _ in range(5):
                next_snapshot()
        made.until("vad_connections", lambda count: count == 1)
        assert made.metric('vad_refused_total{reason="connections"}') >= 300 - 128
        assert made.metric("vad_snapshots_failed_total") == 0
    finally:
        made.process.kill()
        made.process.wait()


def test_a_second_ctrl_c_changes_nothing(tmp_path):
    async def run():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await greeted(ws)
            await ws.send(made_audio(2).tobytes())
            await answers(ws, 2)
            running.process.send_signal(signal.SIGINT)
            await asyncio.sleep(0.02)
            running.process.send_signal(signal.SIGINT)
            assert await code_of(ws) == 1012

    with service(tmp_path, snapshot_seconds=1000) as running:
        asyncio.run(run())
        assert running.process.wait(30) == 0
        assert read_snapshot(running.snapshot)["frames"].tolist() == [2]


def test_exit_codes(tmp_path):
    with service(tmp_path) as running:
        assert running.stop(signal.SIGTERM) == 0
        running.start()
        assert running.stop(signal.SIGINT) == 0
        running.start()
        again = [sys.executable, load.SERVICE, "--port", str(running.port), *running.flags]
        assert subprocess.run(again, check=False, timeout=60).returncode == 4  # the address is in use
        running.stop()
        running.flags += ["--snapshot", str(running.model_path / "sessions.npz")]  # a file is no folder
        with pytest.raises(RuntimeError, match="ended with code 4"):
            running.start()
