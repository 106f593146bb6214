"""How a client's calls go out: without inner retries, on connections of its own.

Three of LiteLLM's habits are undone call by call, since nothing global of LiteLLM's may be changed: inner retries that
no limiter sees, connection pools of 100 with 20 kept alive, and advertisements on standard output.
"""

import uuid
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from llm_api_client.call import litellm_door
from llm_api_client.call.connections import connect, exchange
from llm_api_client.call.failure import note_heard, scrub
from llm_api_client.errors import ClientClosedError

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
    """

    def __init__(self, api_call: Callable[..., Any], *, is_litellm: bool) -> None:
        self._api_call = api_call
        self._is_litellm = is_litellm
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
        else:
            sent["client"] = own
        with litellm_door.settings_of_call(params), exchange(params.get("timeout"), on_sent) as wire:
            try:
                if params.get("stream"):
                    litellm_door.ask_for_usage(sent, provider)
                response = litellm_door.collected(self._api_call(**sent), params)
            except Exception as raised:
                if own is not None:
                    note_heard(raised, wire.heard())
                scrub(raised, litellm_door.keys_of_the_house())
                raise
        on_sent()  # Once more, in case LiteLLM went another way: an answer proves that the request left.
        return response

    def close(self) -> None:
        """Close the connections; calls in flight fail, and no further one is made."""
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
