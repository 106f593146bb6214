"""Between a loop and a thread: blocking calls that a coroutine awaits, and coroutines that a thread waits for."""

import asyncio
import contextvars
import inspect
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread, current_thread
from typing import Any, Generic, TypeVar

from llm_api_client.records import Result
from llm_api_client.run.batch import GRACE_SECONDS, Batch

T = TypeVar("T")


class Errand(Generic[T]):
    """A blocking call in a thread of its own, made in the loop that awaits its `outcome`.

    Whoever stops awaiting it stops the batch that it runs. The thread is a daemon: it holds nothing that a process must
    not end without.

    Args:
        call: What is done.
        on_stop: Called once with the reason when it is to stop, in whatever thread.
        on_end: Called with it in its thread, when that is about to end.
    """

    def __init__(
        self,
        call: Callable[[], T],
        *,
        on_stop: Callable[[BaseException], None] | None = None,
        on_end: Callable[["Errand[Any]"], None] | None = None,
    ) -> None:
        self._thread = _Thread(self)
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._call: Callable[[], T] | None = call
        self._on_stop = on_stop
        self._on_end = on_end
        # The lock guards both: the batch may begin in this thread while another wants it stopped.
        self._lock = Lock()
        self._batch: Batch | None = None
        self._stop: BaseException | None = None
        self.ended: asyncio.Future[tuple[T | None, BaseException | None]] = self._loop.create_future()
        """Done when the call is, with what it returned or raised."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float | None = None) -> None:
        """Wait so long for the thread's end, with the loop stopped; for one that has told of it, that is no time."""
        self._thread.join(timeout)

    def perform(self) -> None:
        """Do it, in the thread, and tell the loop."""
        value: T | None = None
        error: BaseException | None = None
        call, self._call = self._call, None
        try:
            value = self._context.run(call) if call is not None else None
        except BaseException as raised:  # noqa: BLE001  it is raised where it is awaited
            error = raised
        finally:
            call = self._on_stop = None
            if self._on_end is not None:
                self._on_end(self)
            self.tell(self._settle, value, error)

    def tell(self, function: Callable[..., Any], *arguments: Any) -> bool:
        """Have the loop call a function soon; returns whether there still is a loop."""
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            return False
        return True

    def begins(self, batch: Batch) -> None:
        """This thread is about to run a batch.

        Raises:
            BaseException: Why it is not to.
        """
        with self._lock:
            self._batch, stop = batch, self._stop
        if stop is not None:
            batch.close()
            raise stop

    def wake(self) -> None:
        """The input of the batch may have some. From any thread."""
        with self._lock:
            batch = self._batch
        if batch is not None:
            batch.wake()

    def stop(self, stop: BaseException) -> bool:
        """Have the batch raise `stop`, or not begin; returns whether it has begun. From any thread."""
        with self._lock:
            first, self._stop = self._stop is None, self._stop or stop
            batch, on_stop = self._batch, self._on_stop
        if first and batch is not None:
            batch.interrupt(stop)
        if first and on_stop is not None:
            on_stop(stop)
        return batch is not None

    async def outcome(self) -> T:
        """What the call comes to. A batch that is cancelled has come to its end before this raises.

        Raises:
            BaseException: Whatever the call raises.
        """
        try:
            await asyncio.wait([self.ended])
        except asyncio.CancelledError:
            if self.stop(asyncio.CancelledError()):
                await asyncio.wait([self.ended], timeout=GRACE_SECONDS)
            raise
        value, error = self.ended.result()
        try:
            if error is not None:
                raise error
            return value  # type: ignore[return-value]  # without an error it is there
        finally:
            del error  # its frames know it

    def _settle(self, value: T | None, error: BaseException | None) -> None:
        if not self.ended.done():
            self.ended.set_result((value, error))


class _Thread(Thread):
    def __init__(self, errand: Errand[Any]) -> None:
        super().__init__(name="llm-api-client-async", daemon=True)
        self.errand: Errand[Any] | None = errand

    def run(self) -> None:
        if self.errand is not None:
            self.errand.perform()
        self.errand = None  # It knows this thread: left as a circle, its outcome would wait for the collector.


def current_errand() -> Errand[Any] | None:
    """The errand whose thread this is."""
    thread = current_thread()
    return thread.errand if isinstance(thread, _Thread) else None


class Handler:
    """An `on_result` for a batch's thread that is performed in a loop, and waited for.

    Args:
        on_result: A function, or a coroutine function.
    """

    def __init__(self, on_result: Callable[[Result], Any]) -> None:
        self._on_result = on_result
        self._reply: SimpleQueue[BaseException | None] = SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self._errand: Errand[Any] | None = None

    def __call__(self, result: Result) -> None:
        """Have it handled; returns when it is."""
        self._errand = current_errand()
        if self._errand is None or not self._errand.tell(self._handle, result):
            raise RuntimeError("The event loop was closed while its batch was under way.")
        error = self._reply.get()
        if error is not None:
            raise error

    def stop(self, stop: BaseException) -> None:
        """Handle no more. From any thread."""
        self._reply.put(stop)
        if self._errand is not None:
            self._errand.tell(self._cancel)

    def _handle(self, result: Result) -> None:
        try:
            handled = self._on_result(result)
        except BaseException as raised:  # noqa: BLE001  it is raised in the batch, and from there where that is awaited
            self._reply.put(raised)
            return
        if inspect.isawaitable(handled):
            self._task = asyncio.ensure_future(self._awaited(handled))
        else:
            self._reply.put(None)

    async def _awaited(self, handled: Any) -> None:
        try:
            await handled
        except BaseException as raised:  # noqa: BLE001  likewise
            self._reply.put(raised)
        else:
            self._reply.put(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
