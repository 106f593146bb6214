"""How a client ends, and where it runs: nothing outlives its close, and it belongs to no loop."""

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from llm_api_client import errors
from llm_api_client.testing import ScriptedCalls

from .conftest import MODEL, question, questions, threads_of_the_client, until


def run_program(text, **variables):
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", **variables}
    program = [sys.executable, "-W", "error::ResourceWarning", "-c", textwrap.dedent(text)]
    return subprocess.run(program, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_whatever_is_under_way_ends_with_the_client(make, gate):
    """Chats, batches, streams and futures all end when the client is closed, none hangs, and no thread is left."""

    async def main():
        before = set(threading.enumerate())
        client = make(api_call=gate, max_workers=2)
        stream = client.iter_requests(questions(9))
        awaited = [
            asyncio.ensure_future(each)
            for each in (
                client.chat("x", MODEL),
                client.chat("x", MODEL, max_retries=0),
                client.request(question(), timeout=50),
                client.make_requests(questions(9)),
                anext(stream),
            )
        ]
        await until(lambda: len(gate.asked) >= 5)
        began = time.monotonic()
        await asyncio.gather(client.close(), client.close())
        ends = await asyncio.gather(*awaited, return_exceptions=True)
        took = time.monotonic() - began
        gate.opened.set()
        await until(lambda: not [each for each in set(threading.enumerate()) - before if "llm-api" in each.name])
        return ends, took

    ends, took = asyncio.run(main())
    assert {type(end) for end in ends} <= {errors.ClientClosedError, errors.BatchInterruptedError}
    assert took < 3


def test_a_closed_client_says_so(make):
    """Every call after the close is refused; closing again is harmless, in another loop too."""

    async def main(client):
        await client.close()
        for call in (client.chat("x", MODEL), client.request(question()), client.make_requests([question()])):
            with pytest.raises(errors.ClientClosedError):
                await call
        with pytest.raises(errors.ClientClosedError):
            client.submit(question())

    client = make(api_call=ScriptedCalls())
    asyncio.run(main(client))
    asyncio.run(client.close())


def test_a_handler_may_close_the_client(make):
    """`on_result` that closes the client ends its own batch, without waiting for itself."""

    async def main():
        client = make(api_call=ScriptedCalls(), max_workers=1)

        async def close(_):
            await client.close()

        began = time.monotonic()
        with pytest.raises((errors.ClientClosedError, asyncio.CancelledError)):
            await client.make_requests(questions(50), on_result=close)
        return time.monotonic() - began

    assert asyncio.run(main()) < 3


def test_nothing_outlives_its_client(client_of):
    """After the close there are no more threads and open files than before."""

    async def main():
        async with client_of() as client:
            await asyncio.gather(*[client.chat(f"{number}", MODEL) for number in range(20)])
            await client.post_request("chat/completions", question())
            assert open_files() > before

    def open_files():
        gc.collect()
        return len(list(Path("/dev/fd").iterdir()))

    before = 0
    asyncio.run(main())  # LiteLLM opens what it keeps.
    before = open_files()
    asyncio.run(main())
    give_up_at = time.monotonic() + 5
    while threads_of_the_client() or open_files() > before:
        assert time.monotonic() < give_up_at, threads_of_the_client()
        time.sleep(0.01)


def test_a_client_is_used_in_one_loop_after_another(make):
    """It is made outside of a loop, and serves any that runs."""
    client = make(api_call=ScriptedCalls())

    async def use():
        assert (await client.chat("x", MODEL)).data == "An answer."
        assert len(await client.make_requests(questions(3))) == 3
        assert len([each async for each in client.iter_requests(questions(3))]) == 3

    for _ in range(3):
        asyncio.run(use())
    asyncio.run(client.close())
    assert len(client.history) == 12


def test_it_runs_with_uvloop(make):
    """On another event loop it does the same."""
    uvloop = pytest.importorskip("uvloop")

    async def use():
        async with make(api_call=ScriptedCalls()) as client:
            assert len([each async for each in client.iter_requests(questions(3))]) == 3
            return (await client.chat("x", MODEL)).data

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(use()) == "An answer."


def test_a_loop_that_was_closed_holds_nothing(make, gate):
    """A batch and a stream whose loop has gone end by themselves when their calls do."""

    async def main(client):
        stream = client.iter_requests(questions(3))
        tasks = [asyncio.ensure_future(each) for each in (anext(stream), client.make_requests(questions(3)))]
        await until(lambda: len(gate.asked) >= 2)
        return tasks

    client = make(api_call=gate)
    tasks = asyncio.run(main(client))
    assert all(task.cancelled() for task in tasks)
    del tasks
    gate.opened.set()
    asyncio.run(client.close())
    give_up_at = time.monotonic() + 5
    while "llm-api-client-async" in threads_of_the_client():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def test_a_forgotten_client_does_not_keep_the_process():
    """Without a close, with a stream half read and a batch that hangs, the program ends when its main function does."""
    done = run_program(
        """
        import asyncio, threading
        from llm_api_client.async_client import AsyncAPIClient
        from llm_api_client.testing import ScriptedCalls

        def call(**params):
            if params["messages"][0]["content"] == "hang":
                threading.Event().wait()
            return ScriptedCalls()()

        def request(text):
            return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}

        async def main():
            client = AsyncAPIClient(api_call=call)
            await client.chat("x", "gpt-4o-mini")
            stream = client.iter_requests([request("x")] * 9)
            await anext(stream)
            task = asyncio.ensure_future(client.make_requests([request("hang")]))
            await asyncio.sleep(0.05)
            print("over")
            return stream

        kept = asyncio.run(main())
        """
    )
    assert (done.returncode, done.stdout) == (0, "over\n")
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_a_program_that_waits():
    """An interrupt reaches the task that awaits a batch, whose calls hang, and ends the program."""
    done = run_program(
        """
        import asyncio, os, signal, threading
        from llm_api_client.async_client import AsyncAPIClient

        def call(**params):
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            threading.Event().wait()

        async def main():
            async with AsyncAPIClient(api_call=call) as client:
                request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
                await asyncio.gather(client.make_requests([request]), client.chat("x", "gpt-4o-mini"))

        asyncio.run(main())
        """
    )
    assert "KeyboardInterrupt" in done.stderr.splitlines()[-1]
    assert done.returncode != 0


def test_it_is_awaited_in_a_notebook(tmp_path):
    """Cells await it at their top, in the loop that runs already."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    cells = [
        """
        from llm_api_client.async_client import AsyncAPIClient
        from llm_api_client.testing import ScriptedCalls
        client = AsyncAPIClient(api_call=ScriptedCalls())
        request = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "x"}]}
        print((await client.chat("x", "gpt-4o-mini")).data)
        """,
        """
        print(len([each async for each in client.iter_requests([request] * 3)]))
        print(len(await client.make_requests([request])))
        await client.close()
        """,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell)) for cell in cells])
    program = f"""
        import nbformat, nbclient, sys
        notebook = nbformat.reads({nbformat.writes(notebook)!r}, as_version=4)
        nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
        for cell in notebook.cells:
            print(*(each["text"] for each in cell.outputs if each.get("name") == "stdout"), sep="", end="")
        """
    assert nbclient
    done = run_program(program, IPYTHONDIR=str(tmp_path), JUPYTER_RUNTIME_DIR=str(tmp_path))
    assert done.stdout == "An answer.\n3\n1\n", done.stderr
