"""The simulated provider as an object: options in, an address out, and what it saw."""

import asyncio
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from math import fsum, isfinite
from random import Random
from types import FrameType, TracebackType
from typing import Any, Self

from .answers import Author
from .books import Books, Counts, SeenRequest
from .faults import FaultPlan
from .limits import Ledger
from .server import serve
from .service import Delays, Service

MAX_PORT = 65535


class SimulatedProvider:
    """An OpenAI-compatible provider on loopback, with limits that are strict and faults that are chosen.

    Use it as a context manager, or with `start` and `stop`: it then runs in a thread of its own. `serve_forever` runs
    it in the calling thread.

    Chat completions, completions and responses (all also streamed), embeddings, moderations, images, transcriptions,
    translations, speech, rerank, models, files, batches and fine-tuning jobs are served, with and without ``/v1``. An
    answer's usage is right, a token being four characters; audio has none. A model whose name begins with "missing"
    does not exist; every other does. ``GET /simulator/counts`` and ``POST /simulator/reset`` do from outside what
    `counts` and `reset` do from inside.

    A single request chooses its own fault by a header ``x-simulate: 429; retry-after=2``, or by ``[simulate: html]``
    in its last user message, prompt, input or query; `next` chooses those of the requests to come, and the rates leave
    the rest to chance; only looks at the models are spared. The words are those of
    `llm_api_client.simulator.faults.parse_fault`.

    A batch holds chats, completions, responses, embeddings or moderations. They are answered as single ones are, but
    in an order of their own. Those that ask for a fault by ``[simulate: ...]``, and those that are wrong, end in its
    error file; script and chance do not reach them. With a metadata of ``{"simulate": "expired"}`` its time is up when
    half of them are answered. Files are kept in memory, at most 1 GB of them.

    Limits are a sliding window that all models and endpoints share, looked at when a request arrives. Requests that
    the limits refuse charge nothing; nor do those refused for their key, their form, or by a fault with a status
    below 500. Every other one stays charged for a whole window, whatever becomes of it. Files, batches and fine-tuning
    jobs are outside the limits.

    Args:
        requests_per_minute: Requests admitted in any window. Default None: no limit.
        tokens_per_minute: Tokens admitted in any window: those of the prompt and of the answer to it. Default None:
            no limit.
        window: Length of the window in seconds; the two limits above are per window. Default 60.0.
        latency: Seconds that each answer takes; refusals take none. Default 0.0.
        jitter: At most so many seconds more, evenly spread. Default 0.0.
        arrival_jitter: At most so many seconds, evenly spread, that a request is under way before it arrives and the
            limits see it, as in an uneven network. Default 0.0.
        error_rate: Share of requests, 0 to 1, that end in a status of 500, 502 or 503. Default 0.0.
        rate_limit_rate: Share that end in a 429 that has nothing to do with the limits, to be retried after 1 s.
            Default 0.0.
        hang_rate: Share that are never answered. Default 0.0.
        reset_rate: Share whose connection is reset. Default 0.0.
        bad_json_rate: Share that are answered with half of the JSON. Default 0.0.
        html_rate: Share that are answered with a page, and status 200. Default 0.0.
        answer: The text of each answer, or a function from the request's JSON to it, which runs in the server's
            thread. Default None: "Simulated answer to: " and the first words of the prompt.
        answer_tokens: Tokens that each text is cut or padded to. Default None: as long as it is.
        batch_seconds: Seconds that a batch is validated, and again as many that it is in progress; a fine-tuning job
            takes as many in all. Default 0.0: the first look after it was created sees it done.
        api_keys: Keys that are accepted. Default None: any.
        charge_max_tokens: Whether the tokens limit is charged with the longest answer that the request allows
            (`max_tokens`), and never given back, instead of the answer that it gets. Default False.
        seed: Makes chance repeat itself, request by request. Default None: it does not.
        host: Address to listen on, of this machine only. Default "127.0.0.1".
        port: Port to listen on. Default 0: any free one.
        keep: How many requests `requests` remembers, of at most 64 MB in all. Default 10_000.

    Raises:
        ValueError: if an option makes no sense; the message says why.
    """

    def __init__(
        self,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        window: float = 60.0,
        latency: float = 0.0,
        jitter: float = 0.0,
        arrival_jitter: float = 0.0,
        error_rate: float = 0.0,
        rate_limit_rate: float = 0.0,
        hang_rate: float = 0.0,
        reset_rate: float = 0.0,
        bad_json_rate: float = 0.0,
        html_rate: float = 0.0,
        answer: str | Callable[[dict[str, Any]], str] | None = None,
        answer_tokens: int | None = None,
        batch_seconds: float = 0.0,
        api_keys: Collection[str] | None = None,
        charge_max_tokens: bool = False,
        seed: int | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        keep: int = 10_000,
    ) -> None:
        rates = {
            "500|502|503": error_rate,
            "429; retry-after=1": rate_limit_rate,
            "hang": hang_rate,
            "reset": reset_rate,
            "bad-json": bad_json_rate,
            "html": html_rate,
        }
        _check_whole(1, requests_per_minute=requests_per_minute, tokens_per_minute=tokens_per_minute)
        _check_whole(1, answer_tokens=answer_tokens)
        _check_whole(0, keep=keep, port=port)
        if port > MAX_PORT:
            _reject(f"port has to be at most {MAX_PORT}, not {port}")
        _check_seconds(latency=latency, jitter=jitter, arrival_jitter=arrival_jitter)
        _check_seconds(window=window, batch_seconds=batch_seconds)
        if window == 0:
            _reject("window has to be longer than 0 seconds")
        if not all(0 <= rate <= 1 for rate in rates.values()) or fsum(rates.values()) > 1:
            _reject(f"rates are shares of all requests, each from 0 to 1 and together at most 1, not {rates}")
        if isinstance(api_keys, str):
            _reject("api_keys is a set or list of keys; a single one goes in brackets")
        if not _is_loopback(host):
            _reject(f"host {host!r} is not of this machine only; a simulated provider listens on loopback")
        ledger = Ledger(requests_per_minute, tokens_per_minute, window)
        self._plan = FaultPlan(rates, Random(seed))  # noqa: S311  chance, no secret
        self._books = Books(ledger, keep)
        self._service = Service(
            author=Author(answer, answer_tokens),
            books=self._books,
            ledger=ledger,
            plan=self._plan,
            # Chance of its own, so that a latency more or less does not move the faults.
            delays=Delays(latency, jitter, arrival_jitter, Random(seed)),  # noqa: S311  likewise
            api_keys=api_keys,
            charge_max_tokens=charge_max_tokens,
            batch_seconds=batch_seconds,
            seed=seed,
        )
        self._host = "127.0.0.1" if host == "localhost" else host
        self._port = port
        self._base_url: str | None = None
        self._stop: Callable[[], None] | None = None
        self._thread: threading.Thread | None = None

    @property
    def base_url(self) -> str:
        """Address for a client's `base_url`, ending in ``/v1``. Only while it runs."""
        if self._base_url is None:
            msg = "the simulated provider does not run: enter it with `with`, or call start()"
            raise RuntimeError(msg)
        return self._base_url

    @property
    def counts(self) -> Counts:
        """A snapshot of what it has seen so far; from any thread, and after it has stopped."""
        return self._books.counts()

    @property
    def requests(self) -> list[SeenRequest]:
        """The last requests that it saw, in order of arrival; from any thread, and after it has stopped."""
        return self._books.requests()

    def next(self, *faults: str | None) -> None:
        """Choose what happens to the next requests, in order; None leaves one alone.

        A request that chooses for itself, or is refused for its key or form, does not count here.

        Raises:
            ValueError: if one is no fault; then nothing was chosen.
        """
        self._plan.next(*faults)

    def reset(self) -> None:
        """Begin anew: no counts, requests, files, batches or jobs, an empty window, nothing that `next` chose."""
        self._service.reset()

    def start(self) -> Self:
        """Serve from a thread of its own; returns when it accepts connections.

        Raises:
            OSError: if the port is taken.
            RuntimeError: if it runs already.
        """
        if self._thread is not None:
            msg = "the simulated provider runs already"
            raise RuntimeError(msg)
        ready: Future[str] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="simulated-provider", daemon=True)
        self._thread.start()
        try:
            ready.result()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close every connection and wait until nothing is left. Without effect if it does not run."""
        if self._stop is not None:
            with suppress(RuntimeError):  # it has just ended by itself, and its loop is closed
                self._stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def serve_forever(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serve from the calling thread until Ctrl-C, SIGTERM, or `stop` from another thread; then return.

        Args:
            on_ready: Is told the `base_url` once connections are accepted.

        Raises:
            OSError: if the port is taken.
            RuntimeError: if it runs already.
        """
        if self._stop is not None or self._thread is not None:
            msg = "the simulated provider runs already"
            raise RuntimeError(msg)
        asyncio.run(self._serve(on_ready or (lambda _url: None)))

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<SimulatedProvider {self._base_url or 'stopped'}>"

    def _run(self, ready: "Future[str]") -> None:
        try:
            asyncio.run(self._serve(ready.set_result))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, on_ready: Callable[[str], None]) -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()

        def announce(port: int) -> None:
            host = f"[{self._host}]" if ":" in self._host else self._host
            self._base_url = f"http://{host}:{port}/v1"
            on_ready(self._base_url)

        def halt() -> None:
            loop.call_soon_threadsafe(stop.set)

        self._stop = halt
        try:
            with _signals_call(halt):
                await serve(self._service, self._host, self._port, stop, announce)
        finally:
            self._base_url = self._stop = None


@contextmanager
def _signals_call(stop: Callable[[], None]) -> Iterator[None]:
    """Let SIGINT and SIGTERM call `stop`; elsewhere than in the main thread signals are not ours to handle."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    numbers = [signal.SIGINT, signal.SIGTERM] if threading.current_thread() is threading.main_thread() else []
    before = [(number, signal.signal(number, handle)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _reject(why: str) -> None:
    raise ValueError(why)


def _check_whole(least: int, **values: int | None) -> None:
    for name, value in values.items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            _reject(f"{name} has to be a whole number, at least {least}, not {value!r}")


def _check_seconds(**values: float) -> None:
    for name, value in values.items():
        if not isfinite(value) or value < 0:
            _reject(f"{name} is in seconds, finite and not negative, not {value!r}")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
