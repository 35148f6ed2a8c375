"""The engine of examples/service by itself: what happens between a session, its batch and the pool."""

import asyncio
import signal
import threading

import numpy as np
import pytest

from tests.cases import assert_close
from tests.service.support import as_onnx, engine, made_audio, made_weights, model, settings

MODEL = model.Model(as_onnx(made_weights()))
PCM = made_audio(8)


@pytest.fixture(autouse=True)
def no_end_of_the_tests():
    """Ignore SIGTERM: an engine that breaks stops its process with it."""
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGTERM, before)


def engine_of(**chosen):
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in ({"snapshot": ""} | chosen).items()]
    return engine.Engine(MODEL, settings.read(flags))


def run(work):
    async def limited():
        async with asyncio.timeout(20):
            await work()

    asyncio.run(limited())


async def advance(made, session, first, last):
    return await made.advance(session, PCM[first * model.FRAME : last * model.FRAME].tobytes())


def test_a_session_that_comes_back_while_another_expires_stays():
    async def work():
        made = engine_of(resume_seconds=0.2)
        async with made.running():
            gone, back = [await made.attach("") for _ in range(2)]
            for session in (gone, back):
                await advance(made, session, 0, 1)
                await made.detach(session, for_good=False)
            gone.left = back.left  # both expire at once
            async with made._pool_free:  # a long step: the first that expires waits for its end
                while gone.token in made.sessions:
                    await asyncio.sleep(0.01)
                assert await made.attach(back.token) is back
            for frame in range(1, 4):
                await asyncio.sleep(0.1)
                await advance(made, back, frame, frame + 1)
            assert back.token in made.sessions
            assert back.frames == 4

    run(work)


def failing_once(made, entered=None, going=None):
    """Let the next step of an engine fail; `entered` is set when it begins, and it ends when `going` is."""
    step = made._step

    def fail(batch):
        made._step = step
        if entered:
            entered.set()
            going.wait(30)
        raise MemoryError("no memory for a batch")

    made._step = fail


def test_a_batch_that_fails_costs_no_session():
    async def work():
        made = engine_of()
        async with made.running():
            one, other = [await made.attach("") for _ in range(2)]
            await advance(made, one, 0, 4)
            failing_once(made)
            failed = await asyncio.gather(*(advance(made, s, 4, 5) for s in (one, other)), return_exceptions=True)
            assert [type(error) for error in failed] == [MemoryError, MemoryError]
            await made.detach(one, for_good=False)
            assert await made.attach(one.token) is one
            await advance(made, one, 4, 8)
            assert one.frames == 8
            assert_close(np.frombuffer(one.since(0), np.float32), MODEL.clips([PCM])[0], "service")
            assert not made.broken

    run(work)


def test_a_batch_that_fails_when_its_client_is_gone_breaks_nothing():
    async def work():
        made = engine_of()
        entered, going = threading.Event(), threading.Event()
        async with made.running():
            gone, other = [await made.attach("") for _ in range(2)]
            failing_once(made, entered, going)
            waiting = asyncio.ensure_future(advance(made, gone, 0, 1))
            await asyncio.to_thread(entered.wait)
            waiting.cancel()
            await asyncio.sleep(0)
            going.set()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert len(await advance(made, other, 0, 8)) == 4 * 8
            assert not made.broken

    run(work)


@pytest.mark.parametrize("memory", [True, False])
def test_sessions_are_answered_and_then_advanced(monkeypatch, memory):
    seen, real = [], model.fastlstm.StreamPool.advance

    def advanced(pool, ids):
        seen.append(len(ids))
        if not memory:
            raise MemoryError("there is none")
        real(pool, ids)

    monkeypatch.setattr(model.fastlstm.StreamPool, "advance", advanced)

    async def work():
        made = engine_of()
        async with made.running():
            sessions = [await made.attach("") for _ in range(3)]
            answers = [[] for _ in sessions]
            for frame in range(6):
                got = await asyncio.gather(*(advance(made, session, frame, frame + 1) for session in sessions))
                for answer, data in zip(answers, got, strict=True):
                    answer.append(np.frombuffer(data, np.float32))
            assert seen
            assert max(seen) <= 3
            expected = MODEL.clips([PCM[: 6 * model.FRAME]])[0]
            for answer in answers:
                assert_close(np.concatenate(answer), expected, "service")

    run(work)
