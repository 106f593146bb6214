"""The part of a client that says what was spent, and whose key pays for it."""

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from llm_api_client.admit.limits import Limits
from llm_api_client.api_tracker import APIUsageTracker
from llm_api_client.catalog import Catalog
from llm_api_client.errors import APICallException, MalformedResponseError
from llm_api_client.records import Result
from llm_api_client.secrets import MASK, scrubbed_data

_AWS = ("AWS_BEARER_TOKEN_BEDROCK", "AWS_SECRET_ACCESS_KEY")
_VARIABLES = {
    "ai21_chat": ("AI21_API_KEY",),
    "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"),
    "aws_polly": _AWS[1:],
    "azure": ("AZURE_API_KEY", "AZURE_OPENAI_API_KEY", "AZURE_AD_TOKEN"),
    "bedrock": _AWS,
    "bedrock_converse": _AWS,
    "bedrock_mantle": ("BEDROCK_MANTLE_API_KEY", *_AWS),
    "black_forest_labs": ("BLACK_FOREST_LABS_API_KEY", "BFL_API_KEY"),
    "cohere": ("COHERE_API_KEY", "CO_API_KEY"),
    "cohere_chat": ("COHERE_API_KEY", "CO_API_KEY"),
    "fireworks_ai": ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
    "friendliai": ("FRIENDLIAI_API_KEY", "FRIENDLI_TOKEN"),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "gigachat": ("GIGACHAT_API_KEY", "GIGACHAT_CREDENTIALS"),
    "huggingface": ("HUGGINGFACE_API_KEY", "HF_TOKEN"),
    "jina_ai": ("JINA_AI_API_KEY", "JINA_AI_TOKEN"),
    "lambda_ai": ("LAMBDA_API_KEY",),
    "meta_llama": ("LLAMA_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "perplexity": ("PERPLEXITYAI_API_KEY", "PERPLEXITY_API_KEY"),
    "replicate": ("REPLICATE_API_KEY", "REPLICATE_API_TOKEN"),
    "sagemaker": _AWS[1:],
    "scaleway": ("SCW_SECRET_KEY",),
    "together_ai": ("TOGETHERAI_API_KEY", "TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHER_AI_TOKEN"),
    "vertex_ai": ("GOOGLE_APPLICATION_CREDENTIALS",),
    "volcengine": ("VOLCENGINE_API_KEY", "ARK_API_KEY"),
    "voyage": ("VOYAGE_API_KEY", "VOYAGE_AI_API_KEY", "VOYAGE_AI_TOKEN"),
    "watsonx": ("WATSONX_API_KEY", "WX_API_KEY", "WATSONX_TOKEN"),
}
"""Where LiteLLM looks for a provider's key, other than in `<PROVIDER>_API_KEY`; the first that is set counts."""
_NO_SUCH_PATH = frozenset({404, 405})
_SHOWN, _LONG_ENOUGH = 4, 12


class Account:
    """What the client has spent, and what is known of the account that pays."""

    tracker: APIUsageTracker
    max_requests_per_minute: int | None
    max_tokens_per_minute: int | None
    _base_url: str | None
    _catalog: Catalog
    _limits: Limits
    _check_open: Callable[[], None]
    _perform_raw: Callable[..., Any]

    def get_usage(self) -> dict[str, Any]:
        """What this client's calls came to, in all and by provider and by model. Nothing is sent.

        Returns:
            `total_requests` (answered calls), `total_tokens`, `prompt_tokens`, `completion_tokens`, `total_cost` (US
            dollars), `unpriced_requests` (whose price is unknown, and not in the cost); `by_provider` and `by_model`,
            each name with `requests`, `tokens`, `cost` and `unpriced_requests`; and `limits`: the client's, and what of
            them is `used` at the moment, models with limits of their own left out.
        """
        limits = {
            "requests_per_minute": self.max_requests_per_minute,
            "tokens_per_minute": self.max_tokens_per_minute,
            "used": self._limits.of("").used(),
        }
        return {**self.tracker.usage, "limits": limits}

    def get_user_info(self) -> dict[str, Any]:
        """Whose key this client sends.

        A LiteLLM Proxy as `base_url` is asked for the key and its user. Anything else knows no account; then these are
        the providers, and which keys the environment has for them. No key is shown whole.

        Returns:
            Of a proxy: `base_url`, `spend` and `max_budget` of the key in US dollars, `key_info`, and `user_info`,
            which is None where the proxy does not tell. Otherwise: `providers`, LiteLLM's name of each with the masked
            key, or None.

        Raises:
            APICallException: The server does not answer, or refuses the key.
            ClientClosedError: The client is closed.
        """
        self._check_open()
        if self._base_url is None:
            return self._providers()
        key_info = self._asked("key/info", "info")
        if key_info is None:
            return self._providers()
        try:
            user_info = self._asked("user/info", "user_info")
        except APICallException as refused:
            if not refused.status_code:
                raise
            user_info = None
        return {
            "base_url": self._base_url,
            "spend": key_info.get("spend"),
            "max_budget": key_info.get("max_budget"),
            "key_info": key_info,
            "user_info": user_info,
        }

    def _asked(self, path: str, part: str) -> dict[str, Any] | None:
        """A part of what a proxy tells, secrets masked; None of a server that has no such path."""
        # Its own paths are beside those of OpenAI's API.
        root = re.sub(r"/v1/?$", "", (self._base_url or "").rstrip("/"))
        try:
            said = self._perform_raw({"endpoint": f"{root}/{path}", "method": "GET"}, 0, keep=_forget)
        except MalformedResponseError:
            return None
        except APICallException as refused:
            if refused.status_code in _NO_SUCH_PATH:
                return None
            raise
        found = said.get(part) if isinstance(said, dict) else None
        return scrubbed_data(found) if isinstance(found, dict) else None

    def _providers(self) -> dict[str, Any]:
        return {"providers": {name: _masked_key(name, os.environ) for name in self._catalog.providers()}}


def _masked_key(provider: str, environ: Mapping[str, str]) -> str | None:
    """The provider's key as far as it may be shown: at most its last four characters."""
    key = next((environ[name] for name in variables_of(provider) if environ.get(name)), None)
    return None if key is None else MASK + (key[-_SHOWN:] if len(key) > _LONG_ENOUGH else "")


def variables_of(provider: str) -> tuple[str, ...]:
    """The environment variables in which a provider's key may be."""
    name = provider.removeprefix("text-completion-")
    return _VARIABLES.get(name, (f"{name.upper().replace('-', '_')}_API_KEY",))


def _forget(_: Result) -> None:
    """Keep nothing: what a proxy tells of its keys is no history."""
