"""The cells that examples/service tells those who draw them: right, only where asked for, and at nobody else's cost."""

import asyncio
import base64
import json

import numpy as np
import pytest

from tests.cases import assert_close
from tests.service.support import cells, engine, load, made_audio, model, service, settings, websockets
from tests.service.test_engine import MODEL, run

OPTIONS = {"compression": None, "ping_interval": None, "open_timeout": 60}
FRAMES = 12
PCM = made_audio(FRAMES, seed=3)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with service(tmp_path_factory.mktemp("cells")) as made:
        yield made


def read(looks):
    """Turn bytes into amounts [frames, 4, units], as the protocol's description has it."""
    bytes_ = np.frombuffer(looks, np.uint8).reshape(-1, 4, 128).astype(float)
    lowest = np.array([-8, -8, -8, -16])[:, np.newaxis]
    return np.where(bytes_ == 0, 0, 2 ** ((bytes_ - 1) / 14 + lowest))


def expected():
    """Return the amounts of every frame, in plain NumPy, from the gates of the whole clip."""
    trace = MODEL.lstm.trace(MODEL.features(model.frames(PCM))[:, np.newaxis])
    i, f, g, c = (array[0, 0, :, 0].astype(float) for array in (trace.i, trace.f, trace.g, trace.c))
    before = np.concatenate([np.zeros((1, 128)), c[:-1]])
    kept, written = f * before, i * g
    taken = np.where(kept * written < 0, np.minimum(abs(kept), abs(written)), 0)
    return np.stack([abs(kept), abs(written) - taken, taken, -np.log(f)], axis=1)


def assert_told(looks, wanted):
    """Compare: a byte is within half a step of the amount, and half a step more for what a BLAS rounds."""
    got = read(looks)
    lowest = 2.0 ** np.array([-8, -8, -8, -16])[:, np.newaxis]
    assert got.shape == wanted.shape
    seen = got > 0
    assert np.abs(np.log2(got[seen] / wanted[seen])).max() <= 1 / 14
    assert (wanted < lowest * 1.05)[~seen].all()
    assert seen.any(axis=(0, 2)).all()


async def talk(running, asks):
    """Stream frame by frame; before frame n say asks[n]. Return the looks by their first frame, and the answers."""
    looks, answers = {}, []
    async with websockets.connect(running.url, **OPTIONS) as ws:
        hello = json.loads(await ws.recv())
        assert hello["units"] == 128
        for frame in range(FRAMES):
            if frame in asks:
                await ws.send(json.dumps({"cells": asks[frame]}))
            await ws.send(PCM[frame * model.FRAME : (frame + 1) * model.FRAME].tobytes())
            answer = await ws.recv()
            if isinstance(answer, str):
                told = json.loads(answer)
                looks[told["first"]] = base64.b64decode(told["cells"], validate=True)
                answer = await ws.recv()
            answers.append(answer)
    return looks, b"".join(answers)


def test_cells_come_as_often_as_they_were_asked_for(running):
    looks, answers = asyncio.run(talk(running, {0: 2, 5: 256, 8: 0, 10: 1}))
    assert sorted(looks) == [0, 1, 5, 6, 7, 10]
    assert_told(b"".join(looks.values()), expected()[sorted(looks)])
    plain, same = asyncio.run(talk(running, {}))
    assert plain == {}
    assert answers == same  # to the bit: a batch of one either way


def test_cells_of_a_message_of_many_frames_come_together(running):
    async def ask():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await ws.recv()
            await ws.send('{"cells": 5}')
            await ws.send(PCM.tobytes())
            told = json.loads(await ws.recv())
            assert told["first"] == 0
            assert_told(base64.b64decode(told["cells"]), expected()[:5])
            assert_close(np.frombuffer(await ws.recv(), np.float32), MODEL.clips([PCM])[0], "service")

    asyncio.run(ask())


def test_who_comes_back_is_told_no_cells_until_it_asks(running):
    async def ask():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            token = json.loads(await ws.recv())["token"]
            await ws.send('{"cells": 256}')
            await ws.send(PCM[: model.FRAME].tobytes())
            assert isinstance(await ws.recv(), str)
            await ws.recv()
            ws.transport.abort()
        while True:
            async with websockets.connect(f"{running.url}?token={token}&have=1", **OPTIONS) as ws:
                try:
                    await ws.recv()
                except websockets.ConnectionClosed:
                    if ws.close_code == 4409:  # the service has not noticed yet
                        continue
                    raise
                await ws.send(PCM[model.FRAME :].tobytes())
                assert isinstance(await ws.recv(), bytes)
                return

    asyncio.run(ask())


@pytest.mark.parametrize(
    "text",
    [
        *("", "cells", "{", "[]", "7", "null", '{"cells": 257}', '{"cells": -1}', '{"cells": 1.0}', '{"cells": true}'),
        *('{"cells": "8"}', '{"cell": 8}', '{"cells": 8, "units": 3}', '{"cells": NaN}', "{}", "[" * 50_000),
        *('{"cells": ' + "9" * 5000 + "}", "\N{GRINNING FACE}" * 200, '{"cells": 8} {"cells": 8}'),
    ],
    ids=lambda text: text[:20] or "nothing",
)
def test_other_text_is_no_message(running, text):
    with pytest.raises(cells.BadMessageError, match="expected samples, or") as error:
        cells.asked(text)
    assert len(str(error.value).encode()) <= 123  # all that WebSockets allow

    async def ask():
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await ws.recv()
            await ws.send(text)
            with pytest.raises(websockets.ConnectionClosed):
                await ws.recv()
            assert (ws.close_code, ws.close_reason) == (1007, str(error.value))

    asyncio.run(ask())


@pytest.mark.parametrize("count", [0, 1, 256])
def test_a_count_is_a_message(count):
    assert cells.asked(f' {{"cells":{count}}} ') == count


def test_sessions_that_nobody_looks_at_take_plain_steps(monkeypatch):
    stepped, traced = [], []
    for name, seen in (("step", stepped), ("trace", traced)):
        real = getattr(model.fastlstm.StreamPool, name)

        def record(pool, ids, x, real=real, seen=seen):
            seen.append(set(map(int, ids)))
            return real(pool, ids, x)

        monkeypatch.setattr(model.fastlstm.StreamPool, name, record)

    async def work():
        made = engine.Engine(MODEL, settings.read(["--snapshot="]))
        async with made.running():
            sessions = [await made.attach("") for _ in range(4)]
            sessions[1].cells, sessions[3].cells = 256, 4
            frames = [PCM[n * model.FRAME : (n + 1) * model.FRAME].tobytes() for n in range(FRAMES)]
            answers = []
            for frame in frames:
                answers.append(await asyncio.gather(*(made.advance(session, frame) for session in sessions)))
                assert [len(session.looks) for session in sessions] == [0, 1, 0, len(answers) <= 4]
            drawn, plain = sessions[1].id, {sessions[0].id, sessions[2].id}
            assert set.union(*traced) == {drawn, sessions[3].id}
            assert set.union(*stepped) == {*plain, sessions[3].id}
            for row in range(4):
                got = np.frombuffer(b"".join(answer[row] for answer in answers), np.float32)
                assert_close(got, MODEL.clips([PCM])[0], "service")

    run(work)


def test_a_trace_that_fails_costs_no_session(monkeypatch):
    def fail(pool, ids, x):
        raise MemoryError("no memory for a trace")

    async def work():
        made = engine.Engine(MODEL, settings.read(["--snapshot="]))
        async with made.running():
            looked, plain = [await made.attach("") for _ in range(2)]
            looked.cells = 256
            with monkeypatch.context() as patch:
                patch.setattr(model.fastlstm.StreamPool, "trace", fail)
                failed, right = await asyncio.gather(
                    *(made.advance(session, PCM.tobytes()) for session in (looked, plain)), return_exceptions=True
                )
            assert isinstance(failed, MemoryError)
            assert_close(np.frombuffer(right, np.float32), MODEL.clips([PCM])[0], "service")
            await made.detach(looked, for_good=False)  # it has no frame, so it ends
            assert looked.token not in made.sessions
            assert (looked.cells, looked.looks) == (0, [])
            assert not made.broken

    run(work)


def test_a_thousand_frames_of_cells_leave_no_memory_behind(running):
    async def ask():
        frames = 250
        pcm = made_audio(frames).tobytes()
        async with websockets.connect(running.url, **OPTIONS) as ws:
            await ws.recv()
            sizes = []
            for _ in range(12):
                for start in range(0, len(pcm), 50_000):
                    await ws.send('{"cells": 256}')
                    await ws.send(pcm[start : start + 50_000])
                    while isinstance(await ws.recv(), str):
                        pass
                sizes.append(running.metric("process_resident_memory_bytes") / 2**20)
        assert max(sizes[6:]) - max(sizes[:6]) < 4, sizes
        assert running.metric("vad_cells_total") >= 12 * frames

    asyncio.run(ask())


def test_a_load_of_clients_that_draw(running):
    pcm = made_audio(40)
    clients = [load.Client(running.url, pcm, MODEL.clips([pcm])[0], draws=n % 2 == 0) for n in range(8)]

    async def both():
        await asyncio.gather(*(client.run() for client in clients))

    asyncio.run(both())
    assert [client.got for client in clients] == [40] * 8
    assert [client.looks for client in clients] == [40, 0] * 4
