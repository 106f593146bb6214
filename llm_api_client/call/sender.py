"""How a client's calls go out: without inner retries, on connections of its own.

Three of LiteLLM's habits are undone call by call, since nothing global of LiteLLM's may be changed: inner retries that
no limiter sees, connection pools of 100 with 20 kept alive, and advertisements on standard output.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Literal, get_args

from llm_api_client.call import litellm_door
from llm_api_client.call.clients import Clients
from llm_api_client.call.connections import DEFAULT_TIMEOUT, Exchange, exchange
from llm_api_client.call.direct import WAYS, Plan, Plans, Request, plain
from llm_api_client.call.failure import note_heard, scrub
from llm_api_client.call.likeness import Said
from llm_api_client.call.litellm_door.answers import Tap
from llm_api_client.call.litellm_door.library import or_none
from llm_api_client.call.turns import Turns
from llm_api_client.call.wire import Raw, Wire, WireError
from llm_api_client.errors import ClientClosedError, ConfigurationError
from llm_api_client.operations import CHAT, Operation
from llm_api_client.records import UNDER_WAY, Arrived, News, Prepared

logger = logging.getLogger(__name__)

Transport = Literal["auto", "direct", "litellm"]
"""Which way calls go: "auto" takes the direct lane for what LiteLLM was seen to do before; "direct" does as well, and
says what cannot; "litellm" never does."""


class _NoRetries(int):
    """0, where LiteLLM takes a plain 0 for an option that was not given, and then retries twice."""

    def __bool__(self) -> bool:
        return True


_NO_INNER_RETRIES = {"max_retries": _NoRetries(0), "num_retries": 0}


@dataclass(frozen=True, slots=True)
class _Order:
    """One call as it was ordered.

    Attributes:
        params: Keyword arguments of the call.
        sent: The same with what is added to them here.
        provider: LiteLLM's name of the provider.
        perform: LiteLLM's function, or what stands for it.
        on_sent: To be called when the request leaves.
        tap: Is shown every piece of a streamed answer.
        request: The request as the direct lane sees it, or None where LiteLLM is not to be watched.
    """

    params: Mapping[str, Any]
    sent: dict[str, Any]
    provider: str | None
    perform: Callable[..., Any]
    on_sent: Callable[[], None]
    tap: Tap | None = None
    request: Request | None = None


class Sender:
    """Sends a client's calls: `api_call(**params)` without inner retries, on connections of its own.

    Only LiteLLM's own functions get the connections; another callable gets the request, and is told not to retry.

    Args:
        api_call: What performs a chat.
        is_litellm: Whether it is LiteLLM's own `completion`.
        transport: Whether calls may go without LiteLLM, where it was seen what it would do.
        is_replaced: Whether what performs a chat is another by now.

    Raises:
        ConfigurationError: `transport` is none of the three.
    """

    def __init__(
        self,
        api_call: Callable[..., Any],
        *,
        is_litellm: bool,
        transport: Transport = "auto",
        is_replaced: Callable[[], bool] = lambda: False,
    ) -> None:
        if transport not in get_args(Transport):
            message = f'transport is {transport!r}; choose "auto", "direct" or "litellm".'
            raise ConfigurationError(message)
        self._api_call = api_call
        self._is_litellm = is_litellm
        self._is_replaced = is_replaced
        self._says_what_cannot = transport == "direct"
        self._said: set[str] = set()
        self._plans = None
        if is_litellm and transport != "litellm":
            self._plans = Plans(_price, litellm_door.headers_of_provider)
        self._watch = litellm_door.Watch()
        self._asking, self._reading = Turns(), Turns()
        self._wire = Wire(litellm_door.tls_context)
        self._clients = Clients()

    @property
    def baton(self) -> AbstractContextManager[Any]:
        """What a thread holds while it begins calls, and gives up where it waits: see `Wire.baton`."""
        return self._wire.baton

    @property
    def needs_threads(self) -> bool:
        """Whether every call takes a thread while it is under way."""
        return self._plans is None

    def begin(
        self, prepared: Prepared, params: Mapping[str, Any], on_sent: Callable[[], None], arrived: Arrived
    ) -> Callable[[], Any] | None:
        """Begin the call that was prepared, with `params`: the engine's `Begin`."""
        return self._begin(params, prepared.provider, on_sent, arrived, prepared.operation, None)

    def streaming(self, tap: Tap) -> Callable[..., Callable[[], Any] | None]:
        """A `begin` that shows `tap` every piece of a streamed answer as it comes."""
        return lambda prepared, params, on_sent, arrived: self._begin(
            params, prepared.provider, on_sent, arrived, prepared.operation, tap
        )

    def __call__(
        self,
        params: Mapping[str, Any],
        provider: str | None,
        on_sent: Callable[[], None] = lambda: None,
        *,
        operation: Operation = CHAT,
    ) -> Any:
        """Perform one call, a streamed one to its end; raises whatever came of it.

        Args:
            params: Keyword arguments of the call.
            provider: LiteLLM's name of the provider, or None if it knows none.
            on_sent: Called when the request leaves, as nearly as can be told; never, if it did not leave.
            operation: What is asked for.
        """
        ends: SimpleQueue[Callable[[], Any]] = SimpleQueue()
        perform = self._begin(params, provider, on_sent, lambda end, _: ends.put(end), operation, None)
        response = UNDER_WAY if perform is None else perform()
        while response is UNDER_WAY:
            response = ends.get()()
        return response

    def close(self) -> None:
        """Close the connections; calls in flight fail, and no further one is made."""
        self._wire.close()
        self._clients.close()

    def _begin(
        self,
        params: Mapping[str, Any],
        provider: str | None,
        on_sent: Callable[[], None],
        arrived: Arrived,
        operation: Operation,
        tap: Tap | None,
    ) -> Callable[[], Any] | None:
        sent = {**params, **_NO_INNER_RETRIES}
        if operation.names_provider:
            sent["model"] = str(sent.get("model")).removeprefix(f"{provider}/")
        if operation.is_chat and not self._is_litellm:
            return partial(self._by_other, _Order(params, sent, provider, self._api_call, on_sent, tap))
        perform = self._api_call if operation.is_chat else litellm_door.function(operation.function)
        sent.setdefault("litellm_call_id", f"{litellm_door.OWN_CALL}{random.getrandbits(128):032x}")
        request = self._watched(params, provider, operation, perform)
        plan = self._plans.of(request) if self._plans is not None and request is not None else None
        body = plan.body(request) if plan is not None and request is not None else None
        if plan is not None:
            own = plan.by
        else:
            own = None if "client" in params or provider is None else self._clients.of(params, provider, operation)
        if own is None:
            return partial(self._by_litellm, _Order(params, sent, provider, perform, on_sent, tap))
        sent["client"] = own
        order = _Order(params, sent, provider, perform, on_sent, tap, request)
        if request is not None and plan is None:
            return partial(self._looks, request, order, arrived)
        if plan is None or body is None:
            return partial(self._by_litellm, order)
        return None if self._leaves(order, plan, body, arrived) else partial(self._connects, order, plan, body, arrived)

    def _looks(self, request: Request, order: _Order, arrived: Arrived) -> Any:
        """Let LiteLLM perform a call, and watch it; or wait, if others of its kind are just being watched."""

        def goes_on() -> None:
            arrived(partial(self._goes_on, request, order, arrived), News.MAY_GO)

        if not self._asking.goes_first(request.kind, goes_on):
            return UNDER_WAY
        try:
            return self._by_litellm(order)
        finally:
            self._asking.ends(request.kind, is_known=False)

    def _goes_on(self, request: Request, order: _Order, arrived: Arrived) -> Any:
        """Perform a call that has waited: as those before it have shown, if they have."""
        plan = None if self._plans is None else self._plans.of(request)
        body = None if plan is None else plan.body(request)
        if plan is None or body is None:
            return self._by_litellm(order)
        return self._connects(order, plan, body, arrived)

    def _by_other(self, order: _Order) -> Any:
        order.on_sent()
        return litellm_door.collected(order.perform(**order.sent), order.params, order.tap)

    def _by_litellm(self, order: _Order, came: Raw | WireError | None = None) -> Any:
        """Let LiteLLM perform a call, or make what it makes of what `came` of it; where it is to be watched, watch."""
        own, params = order.sent.get("client"), order.params
        if isinstance(came, WireError) and came.closed:
            # Nobody is there to ask; and what LiteLLM imports, while the interpreter ends, may never come back.
            raise ClientClosedError(f"{came}") if came.connecting else ConnectionError(f"{came}")
        if own is None:
            order.on_sent()
        with litellm_door.settings_of_call(params), exchange(params.get("timeout"), order.on_sent) as wire:
            wire.canned = came
            if order.request is not None and came is None:
                wire.leaves = partial(self._sees, order.request, own)
            try:
                if params.get("stream"):
                    litellm_door.ask_for_usage(order.sent, order.provider)
                response = litellm_door.collected(order.perform(**order.sent), params, order.tap)
            except Exception as raised:
                if own is not None and "client" not in params:
                    note_heard(raised, wire.heard())
                scrub(raised, litellm_door.keys_of_the_house())
                raise
            if order.request is not None and self._plans is not None:
                _watch(self._plans, order.request, wire, came, response)
        order.on_sent()  # Once more, in case LiteLLM went another way: an answer proves that the request left.
        return response

    def _sees(self, request: Request, by: Any, asked: Any, before: int) -> None:
        """See what LiteLLM sends for a request, as an `httpx.Request`, and by which client."""
        if self._plans is None:
            return
        if before:  # What takes more than one exchange is more than sending.
            self._plans.forget(request)
            return
        try:
            if self._plans.learn(request, by, str(asked.url), asked.headers.raw, asked.content):
                self._asking.known(request.kind)
        except Exception as wrong:  # noqa: BLE001  whatever cannot be learned costs nobody the answer
            _say_unlearned(request, wrong)

    def _watched(
        self, params: Mapping[str, Any], provider: str | None, operation: Operation, perform: Callable[..., Any]
    ) -> Request | None:
        """A request that may go without LiteLLM once it was seen what LiteLLM does with such; None for others."""
        if self._plans is None or provider is None or operation.function not in WAYS or self._is_replaced():
            return None
        # What stands in the place of one of LiteLLM's functions is asked each time.
        if not operation.is_chat and not str(getattr(perform, "__module__", "")).startswith("litellm."):
            return None
        around = self._watch.look()
        request = self._plans.request(params, provider, operation.function, around) if around.only_sends else None
        model = str(params.get("model"))
        if request is None and self._says_what_cannot and model not in self._said:
            self._said.add(model)
            why = "has parameters or a prompt that LiteLLM may do more with than send them"
            if not around.only_sends:
                why = "would pass by LiteLLM's callbacks, cache or rules"
            logger.warning("A request for %s goes through LiteLLM: it %s. This is said once per model.", model, why)
        return request

    def _connects(self, order: _Order, plan: Plan, body: bytes, arrived: Arrived) -> Any:
        """Send without LiteLLM, over a connection that is to be made, for which others need not wait."""
        try:
            self._leaves(order, plan, body, arrived, may_connect=True)
        except WireError as failed:
            return self._by_litellm(order, failed)
        return UNDER_WAY

    def _leaves(self, order: _Order, plan: Plan, body: bytes, arrived: Arrived, *, may_connect: bool = False) -> bool:
        """Send without LiteLLM; returns whether there was a connection to do so."""
        began = time.perf_counter()

        def ended(came: Raw | WireError) -> None:
            seconds = time.perf_counter() - began
            said = self._read(order, came)
            response = None if said is None else self._made(order, plan, said, seconds)
            if response is not None:
                arrived(lambda: response, News.MADE)
            elif said is not None:
                self._shows(order, plan, came, said, seconds, arrived)
            elif isinstance(came, WireError) and came.closed:
                arrived(partial(self._by_litellm, order, came), News.MADE)
            else:
                # Where a redirect leads is LiteLLM's affair: it asks again, of a server that has not answered yet.
                is_elsewhere = isinstance(came, Raw) and 300 <= came.status < 400  # noqa: PLR2004
                arrived(partial(self._by_litellm, order, None if is_elsewhere else came), News.CAME)

        timeout = order.params.get("timeout", DEFAULT_TIMEOUT)
        return self._wire.begin(
            plan.sent.target, plan.sent.head, body, timeout, order.on_sent, ended, may_connect=may_connect
        )

    def _shows(
        self, order: _Order, plan: Plan, came: Raw | WireError, said: Said, seconds: float, arrived: Arrived
    ) -> None:
        """Let LiteLLM make an answer of a form that is new; or wait, if others of the form are just being made."""
        kind = said.kind + plan.kind

        def by_litellm() -> Any:
            try:
                return self._by_litellm(order, came)
            finally:
                self._reading.ends(kind, is_known=plan.likenesses.knows(said))

        def goes_on() -> None:
            response = self._made(order, plan, said, seconds)
            if response is None:
                arrived(partial(self._by_litellm, order, came), News.CAME)
            else:
                arrived(lambda: response, News.MADE)

        if self._reading.goes_first(kind, goes_on):
            arrived(by_litellm, News.CAME)

    def _read(self, order: _Order, came: Raw | WireError) -> Said | None:
        """An answer's parts; None for what is left to LiteLLM whatever was seen of it."""
        if isinstance(came, WireError) or self._plans is None or order.request is None:
            return None
        if came.status != 200:  # noqa: PLR2004  OK
            self._plans.doubt(order.request, came.status)
            return None
        try:
            read = plain(came)
            return None if read is None else Said.of(read, order.request.shape)
        except Exception as wrong:  # noqa: BLE001  an answer that was paid for is not lost: LiteLLM reads it
            _say_unmade(order.request, wrong)
            return None

    def _made(self, order: _Order, plan: Plan, said: Said, seconds: float) -> Any:
        """LiteLLM's object for an answer that is like one that was seen; None for all else."""
        try:
            return plan.likenesses.answer(said, seconds * 1_000, order.sent["litellm_call_id"])
        except Exception as wrong:  # noqa: BLE001  likewise
            _say_unmade(order.request, wrong)
            return None


def _price(response: Any) -> float | None:
    """US dollars for a response, as LiteLLM would price it now; None where it has no price."""
    hidden = response._hidden_params  # noqa: SLF001  LiteLLM's place for it
    ask = partial(or_none, litellm_door.function("completion_cost"), completion_response=response)
    model = str(hidden.get("litellm_model_name"))
    cost = ask(model=model, custom_llm_provider=hidden.get("custom_llm_provider"))
    # A completion by OpenAI is priced as one of another provider's, which the model's bare name leads to.
    cost = ask(model=model.partition("/")[2]) if cost is None else cost
    return None if cost is None else float(cost)


def _watch(plans: Plans, request: Request, wire: Exchange, came: Raw | WireError | None, response: Any) -> None:
    """See what LiteLLM has made of an answer."""
    answer = wire.answer
    if answer is None or wire.exchanges != (1 if came is None else 0):
        return
    try:
        plans.learn_answer(request, Raw(answer.status_code, answer.headers.multi_items(), answer.content), response)
    except Exception as wrong:  # noqa: BLE001  whatever cannot be learned costs nobody the answer
        _say_unlearned(request, wrong)


def _say_unlearned(request: Request, wrong: Exception) -> None:
    logger.debug("Nothing was learned of a request for %s: %s.", request.model, type(wrong).__name__)


def _say_unmade(request: Request | None, wrong: Exception) -> None:
    model = None if request is None else request.model
    logger.warning("An answer of %s could not be made: %s.", model, type(wrong).__name__)
