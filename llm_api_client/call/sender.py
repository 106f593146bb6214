"""How a client's calls go out: without inner retries, on connections of its own.

Three of LiteLLM's habits are undone call by call, since nothing global of LiteLLM's may be changed: inner retries that
no limiter sees, connection pools of 100 with 20 kept alive, and advertisements on standard output.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Literal, get_args

from llm_api_client.call import litellm_door
from llm_api_client.call.connections import DEFAULT_TIMEOUT, Exchange, connect, exchange
from llm_api_client.call.direct import Plan, Plans, Request, plain
from llm_api_client.call.failure import note_heard, scrub
from llm_api_client.call.likeness import Said
from llm_api_client.call.wire import Raw, Wire, WireError
from llm_api_client.errors import ClientClosedError, ConfigurationError

logger = logging.getLogger(__name__)

Transport = Literal["auto", "direct", "litellm"]
"""Which way calls go: "auto" takes the direct lane for what LiteLLM was seen to do before; "direct" does as well, and
says what cannot; "litellm" never does."""

_NO_INNER_RETRIES = {"max_retries": 0, "num_retries": 0}
# Their LiteLLM routes send over the `HTTPHandler` that is passed as `client=`. Others would ignore it.
_HTTPX_ROUTES = frozenset(
    {
        "anthropic", "deepseek", "fireworks_ai", "gemini", "groq", "hosted_vllm", "mistral", "ollama", "ollama_chat",
        "openrouter", "together_ai", "xai",
    }
)  # fmt: skip


class Sender:
    """Sends a client's calls: `api_call(**params)` without inner retries, on connections of its own.

    Only LiteLLM's own `completion` gets the connections; another callable gets the request, and is told not to retry.

    Args:
        api_call: What performs a request.
        is_litellm: Whether it is LiteLLM's own `completion`.
        transport: Whether calls may go without LiteLLM, where it was seen what it would do.
        is_replaced: Whether what performs a request is another by now.

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
        if transport != "litellm":
            self._plans = Plans(litellm_door.price, litellm_door.headers_of_provider, litellm_door.surroundings)
        self._wire = Wire(litellm_door.tls_context)
        # The lock guards the connections and SDK clients, that they are made once, and not after the end.
        self._lock = Lock()
        self._http: Any = None
        self._clients: dict[tuple[Any, ...], Any] = {}
        self._closed = False

    def __call__(
        self, params: Mapping[str, Any], provider: str | None, on_sent: Callable[[], None] = lambda: None
    ) -> Any:
        """Perform one call, a streamed one to its end; raises whatever the callable raises.

        `on_sent` is called when the request leaves, as nearly as can be told; never, if it did not leave.
        """
        sent = {**params, **_NO_INNER_RETRIES}
        if not self._is_litellm:
            on_sent()
            return litellm_door.collected(self._api_call(**sent), params)
        sent.setdefault("litellm_call_id", litellm_door.OWN_CALL + uuid.uuid4().hex)
        own = None if "client" in params or provider is None else self._client(params, provider)
        if own is None:
            on_sent()
            return self._by_litellm(sent, params, provider, on_sent)
        sent["client"] = own
        request = self._watched(params, provider)
        plan = self._plans.of(request) if self._plans is not None and request is not None else None
        came = None
        if plan is not None and request is not None:
            came, response = self._directly(plan, request, params, sent["litellm_call_id"], on_sent)
            if response is not None:
                return response
        return self._by_litellm(sent, params, provider, on_sent, request, came)

    def _by_litellm(
        self,
        sent: dict[str, Any],
        params: Mapping[str, Any],
        provider: str | None,
        on_sent: Callable[[], None],
        request: Request | None = None,
        came: Raw | WireError | None = None,
    ) -> Any:
        """Let LiteLLM perform a call, or make what it makes of what `came` of it; for a `request`, watch it."""
        own = sent.get("client")
        with litellm_door.settings_of_call(params), exchange(params.get("timeout"), on_sent) as wire:
            wire.canned = came
            try:
                if params.get("stream"):
                    litellm_door.ask_for_usage(sent, provider)
                response = litellm_door.collected(self._api_call(**sent), params)
            except Exception as raised:
                if own is not None and "client" not in params:
                    note_heard(raised, wire.heard())
                scrub(raised, litellm_door.keys_of_the_house())
                raise
            if request is not None and self._plans is not None:
                _watch(self._plans, request, provider, wire, came, response)
        on_sent()  # Once more, in case LiteLLM went another way: an answer proves that the request left.
        return response

    def _watched(self, params: Mapping[str, Any], provider: str | None) -> Request | None:
        """A request that may go without LiteLLM once it was seen what LiteLLM does with such; None for others."""
        if self._plans is None or self._is_replaced():
            return None
        request = self._plans.request(params, provider) if litellm_door.only_sends() else None
        model = str(params.get("model"))
        if request is None and self._says_what_cannot and model not in self._said:
            self._said.add(model)
            why = "has parameters or messages that LiteLLM may do more with than send them"
            if not litellm_door.only_sends():
                why = "would pass by LiteLLM's callbacks, cache or rules"
            logger.warning("A request for %s goes through LiteLLM: it %s. This is said once per model.", model, why)
        return request

    def _directly(
        self,
        plan: Plan,
        request: Request,
        params: Mapping[str, Any],
        call_id: str,
        on_sent: Callable[[], None],
    ) -> tuple[Raw | WireError | None, Any]:
        """What comes of a call that does not go through LiteLLM, and the answer, where it is like one that was seen."""
        body = plan.body(request)
        if body is None or self._plans is None:
            return None, None
        began = time.perf_counter()
        try:
            timeout = params.get("timeout", DEFAULT_TIMEOUT)
            came = self._wire.post(plan.sent.target, plan.sent.head, body, timeout, on_sent)
        except WireError as failed:
            return failed, None
        if came.status != 200:  # noqa: PLR2004  OK
            self._plans.doubt(request, came.status)
            # Where a redirect leads is LiteLLM's affair: it asks again, of a server that has not answered yet.
            return (None if 300 <= came.status < 400 else came), None  # noqa: PLR2004
        read = plain(came)
        said = None if read is None else Said.of(read)
        if said is not None:
            try:
                return came, plan.likenesses.answer(said, (time.perf_counter() - began) * 1_000, call_id)
            except Exception as wrong:  # noqa: BLE001  an answer that was paid for is not lost: LiteLLM reads it
                logger.warning("An answer of %s could not be made: %s.", request.model, type(wrong).__name__)
        return came, None

    def close(self) -> None:
        """Close the connections; calls in flight fail, and no further one is made."""
        self._wire.close()
        with self._lock:
            self._closed = True
            self._clients.clear()
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _client(self, params: Mapping[str, Any], provider: str) -> Any:
        """A client for LiteLLM to use, or None where LiteLLM's own must do."""
        if provider not in _HTTPX_ROUTES and provider != "openai":
            return None
        if params.get("ssl_verify") is not None:
            return None
        try:
            if litellm_door.wants_its_own():
                return None
            if provider in _HTTPX_ROUTES:
                return self._cached(("httpx",), litellm_door.http_handler)
            base, key, organization = litellm_door.openai_credentials(params)
            if not key:
                return None
            return self._cached(("openai", base, key, organization), litellm_door.openai_client)
        except (AttributeError, ImportError, TypeError, ValueError):
            # Another version of LiteLLM or of the SDK: its own connections are fewer, and serve as well.
            return None

    def _cached(self, identity: tuple[Any, ...], make: Callable[..., Any]) -> Any:
        with self._lock:
            if self._closed:
                message = "The client was closed while this call was about to be sent."
                raise ClientClosedError(message)
            client = self._clients.get(identity)
            if client is None:
                client = self._clients[identity] = make(*identity[1:], self._connections())
            return client

    def _connections(self) -> Any:
        """One pool for all providers and keys. Called under the lock."""
        if self._http is None:
            self._http = connect(**litellm_door.connection_settings())
        return self._http


def _watch(
    plans: Plans, request: Request, provider: str | None, wire: Exchange, came: Raw | WireError | None, response: Any
) -> None:
    """See what LiteLLM has sent for a request, and what it has made of the answer."""
    answer = wire.answer
    # What took more than one exchange was more than sending.
    if answer is None or answer.history or wire.exchanges != (1 if came is None else 0):
        return
    try:
        if came is None:
            asked = answer.request
            plans.learn(request, provider, str(asked.url), asked.headers.raw, asked.content)
        plans.learn_answer(request, Raw(answer.status_code, answer.headers.multi_items(), answer.content), response)
    except Exception as wrong:  # noqa: BLE001  whatever cannot be learned costs nobody the answer
        logger.debug("Nothing was learned of a request for %s: %s.", request.model, type(wrong).__name__)
