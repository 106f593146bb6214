"""A stream of results through this library: calls that take a while or none, with a checkpoint or without."""

import itertools
import sqlite3
import tempfile
import time
from pathlib import Path

from common import MODEL, Meter, messages, order, prompts, report

from llm_api_client import APIClient
from llm_api_client.testing import ScriptedAnswer


def rss_mb() -> float:
    """What this process has resident now."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def beyond_the_answers(path: str, count: int) -> float:
    """Bytes of a checkpoint for each request, the answers' own JSON left out."""
    connection = sqlite3.connect(path)
    [answers] = connection.execute("SELECT sum(length(CAST(response AS BLOB))) FROM answers").fetchone()
    connection.close()
    return (Path(path).stat().st_size - answers) / count


def main() -> None:
    """Warm up, then measure; then, with a checkpoint, the same requests once more."""
    told = order()
    seconds, keeps = told.options.get("latency", 0.0), told.options.get("checkpoint", False)
    text = "x" * told.options.get("answer", 400)

    def answer(**_: object) -> ScriptedAnswer:
        if seconds:
            time.sleep(seconds)
        return ScriptedAnswer(text)

    # A few hundred texts, numbered: a million of them would be memory of the caller's own.
    some = prompts(256, told.words, "question")

    def requests(count: int, name: str) -> object:
        return ({"model": MODEL, "messages": messages(f"{name} {n} {some[n % 256]}")} for n in range(count))

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "kept.db") if keeps else None
        client = APIClient(None, None, told.concurrency, api_call=answer, progress=False)
        # The engine and the checkpoint alone: LiteLLM's facts would be asked for once, and its import is measured apart.
        stream = client.iter_requests(requests(told.warm_up + told.count, "first"), sanitize=False, checkpoint=path)
        for _ in itertools.islice(stream, told.warm_up):
            pass
        before, meter = rss_mb(), Meter()
        answered = sum(result.error is None for result in stream)
        measured = meter.read() | {"grown_mb": rss_mb() - before}
        if path is not None:
            measured["bytes"] = beyond_the_answers(path, told.count + told.warm_up)
            began = time.perf_counter()
            again = client.iter_requests(requests(told.count, "first"), sanitize=False, checkpoint=path)
            assert all(result.replayed for result in again)
            measured["replayed_per_second"] = told.count / (time.perf_counter() - began)
    report(answered=answered, **measured)


main()
