"""The clients that LiteLLM sends by: made once for each server and key, all over one pool of connections."""

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from llm_api_client.call import litellm_door
from llm_api_client.call.connections import connect
from llm_api_client.errors import ClientClosedError
from llm_api_client.operations import Operation

# Their LiteLLM routes send over the `HTTPHandler` that is passed as `client=`. Others would ignore it.
_HTTPX_ROUTES = {
    "completion": frozenset(
        {
            "anthropic", "deepseek", "fireworks_ai", "gemini", "groq", "hosted_vllm", "mistral", "ollama",
            "ollama_chat", "openrouter", "together_ai", "xai",
        }
    ),
    "embedding": frozenset({"hosted_vllm"}),
}  # fmt: skip
# Their LiteLLM routes send over the SDK's client that is passed as `client=`; but for these functions.
_SDK_ROUTES = frozenset({"openai", "text-completion-openai"})
_WITHOUT_SDK = frozenset({"rerank", "responses"})
SDK_CHATS = frozenset(
    {
        "ai21", "ai21_chat", "baseten", "codestral", "deepinfra", "featherless_ai", "hyperbolic", "inception", "morph",
        "nscale", "nvidia_nim", "sambanova", "v0", "zai",
    }
)  # fmt: skip
"""Likewise, with addresses and keys of their own. Left to itself, LiteLLM retries twice whatever it is told."""
_SDK_TOO = {
    "completion": SDK_CHATS,
    "text_completion": SDK_CHATS | {"fireworks_ai", "hosted_vllm", "together_ai"},
    "embedding": frozenset({"fireworks_ai", "mistral", "nebius", "together_ai", "wandb", "xinference"}),
}


class Clients:
    """One client's connections, as LiteLLM takes them."""

    def __init__(self) -> None:
        # The lock guards the connections and SDK clients, that they are made once, and not after the end.
        self._lock = Lock()
        self._http: Any = None
        self._made: dict[tuple[Any, ...], Any] = {}
        self._is_closed = False

    def of(self, params: Mapping[str, Any], provider: str, operation: Operation) -> Any:
        """What to pass to LiteLLM as `client=`, or None where its own must do.

        Raises:
            ClientClosedError: It is closed.
        """
        function = operation.function
        by_httpx = provider in _HTTPX_ROUTES.get(function, ())
        # LiteLLM sends every moderation to OpenAI.
        to_openai = (provider in _SDK_ROUTES and function not in _WITHOUT_SDK) or function == "moderation"
        if params.get("ssl_verify") is not None:
            return None
        try:
            if not (by_httpx or to_openai or _goes_by_sdk(provider, function)) or litellm_door.wants_its_own():
                return None
            if by_httpx:
                return self._cached(("httpx",), litellm_door.http_handler)
            credentials = litellm_door.openai_credentials if to_openai else litellm_door.credentials
            base, key, organization = credentials(params)
            if not base or not key:
                return None
            return self._cached(("openai", base, key, organization), litellm_door.openai_client)
        except (AttributeError, ImportError, TypeError, ValueError):
            # Another version of LiteLLM or of the SDK: its own connections are fewer, and serve as well.
            return None

    def close(self) -> None:
        """Close the connections; calls in flight fail, and no further client is made."""
        with self._lock:
            self._is_closed = True
            self._made.clear()
            http, self._http = self._http, None
        if http is not None:
            http.close()

    def _cached(self, identity: tuple[Any, ...], make: Callable[..., Any]) -> Any:
        with self._lock:
            if self._is_closed:
                message = "The client was closed while this call was about to be sent."
                raise ClientClosedError(message)
            client = self._made.get(identity)
            if client is None:
                if self._http is None:
                    self._http = connect(**litellm_door.connection_settings())
                client = self._made[identity] = make(*identity[1:], self._http)
            return client


def _goes_by_sdk(provider: str, function: str) -> bool:
    """Whether LiteLLM sends by the SDK what does not go to OpenAI."""
    if function == "image_generation":
        return litellm_door.draws_by_sdk(provider)
    return provider in _SDK_TOO.get(function, ())
