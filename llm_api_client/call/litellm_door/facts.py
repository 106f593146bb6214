"""What LiteLLM knows of models: parameters, sizes, tokens and prices."""

from collections.abc import Mapping, Sequence
from typing import Any

from llm_api_client.call.litellm_door.library import litellm_module, or_none
from llm_api_client.records import ModelFacts, Usage

# Tokenizers that LiteLLM would download: each count without network would wait about 24 s (and is not remembered).
_DOWNLOADED_TOKENIZERS = frozenset({"cohere", "llama2", "llama3"})
_DOWNLOADED_FOR = ("command-r", "llama-2", "llama-3", "replicate")
_MODELS_WITH_SEPARATE_WINDOWS = ("gemini", "gpt-5")
_PROVIDERS_WITH_LOGIN = frozenset({"chatgpt", "github_copilot"})
# What LiteLLM lists for models of other modes are parameters of chats too.
_MODES_WITH_PARAMS = frozenset({"chat", "completion", "responses"})


def provider_of(model: str, base_url: str) -> str | None:
    """LiteLLM's name of the provider that a request to `model` at `base_url` would go to, or None."""
    found = or_none(litellm_module().get_llm_provider, model=model, api_base=base_url)
    return None if found is None else str(found[1])


def price(model: str, usage: Usage) -> float | None:
    """US dollars for `usage` by LiteLLM's table, or None where it has no price for `model`."""
    parts = or_none(
        litellm_module().cost_per_token,
        model=model,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )
    return None if parts is None else float(sum(parts))


def strict_schema(model: type) -> dict[str, Any] | None:
    """JSON schema of a Pydantic class as OpenAI's strict mode takes it, or None where LiteLLM makes none.

    In it every object is closed and every property required.
    """
    litellm_module()
    try:
        from litellm.utils import type_to_response_format_param  # noqa: PLC0415
    except ImportError:
        return None
    made = or_none(type_to_response_format_param, response_format=model)
    try:
        schema = made["json_schema"]["schema"]
    except (KeyError, TypeError):
        return None
    return schema if isinstance(schema, dict) else None


def _shares_window(model: str) -> bool:
    return not model.rpartition("/")[2].startswith(_MODELS_WITH_SEPARATE_WINDOWS)


class Facts:
    """What LiteLLM knows of models: the `ModelDoor` of preparing."""

    def facts(self, model: str, params: Mapping[str, Any]) -> ModelFacts:
        """All that LiteLLM knows of `model`, asked as `params` would ask it."""
        litellm = litellm_module()
        found = or_none(
            litellm.get_llm_provider,
            model=model,
            custom_llm_provider=params.get("custom_llm_provider"),
            api_base=params.get("api_base") or params.get("base_url"),
        )
        if found is None:
            return ModelFacts(model)
        # Without the provider before it: some of LiteLLM's lists know a model by its bare name only.
        bare, provider = found[:2]
        supported = or_none(litellm.get_supported_openai_params, model=bare, custom_llm_provider=provider)
        info = or_none(litellm.get_model_info, model=model, custom_llm_provider=provider)
        if supported is None and info is None:
            return ModelFacts(model, provider)
        return ModelFacts(
            model,
            provider,
            known=True,
            supported_params=None if supported is None else frozenset(supported),
            max_input_tokens=None if info is None else info.get("max_input_tokens") or info.get("max_tokens"),
            max_output_tokens=None if info is None else info.get("max_output_tokens"),
            shared_window=_shares_window(model),
            takes_schema=self.takes_schema(bare, provider),
        )

    def max_input_tokens(self, model: str) -> int | None:
        """Largest prompt of `model` in tokens, or None if LiteLLM does not know it."""
        info = or_none(litellm_module().get_model_info, model=model) or {}
        return info.get("max_input_tokens") or info.get("max_tokens")

    def takes_schema(self, model: str, provider: str | None) -> bool:
        """Whether `model` keeps to a JSON schema given as `response_format`; False where LiteLLM does not know."""
        return bool(or_none(litellm_module().supports_response_schema, model=model, custom_llm_provider=provider))

    def count_tokens(self, model: str, messages: Sequence[Mapping[str, Any]], tools: Any = None) -> int:
        """Tokens of a prompt.

        Raises:
            LookupError: Counting would need a download.
            Exception: Whatever LiteLLM's counter raises.
        """
        self._check_tokenizer(model)
        count: int = litellm_module().token_counter(
            model=model, messages=list(messages), tools=tools, use_default_image_token_count=True
        )
        return count

    def _check_tokenizer(self, model: str) -> None:
        litellm_module()
        try:
            from litellm.utils import huggingface_tokenizer_kind  # noqa: PLC0415
        except ImportError:
            # Another version of LiteLLM: by the names that have needed a download so far.
            downloaded = any(name in model.lower() for name in _DOWNLOADED_FOR)
        else:
            downloaded = huggingface_tokenizer_kind(model) in _DOWNLOADED_TOKENIZERS
        if downloaded:
            message = f"The tokenizer of {model} is not on this machine."
            raise LookupError(message)


class Table:
    """LiteLLM's table of models: the `ModelTable` of the catalog.

    Rows are read as they stand. `litellm.get_model_info` makes an unknown price 0, and asks Ollama's server.
    """

    shares_window = staticmethod(_shares_window)

    def rows(self) -> Mapping[str, Mapping[str, Any]]:
        """The table as it is now, with what the user has registered."""
        return dict(litellm_module().model_cost)

    def provider(self, name: str) -> str | None:
        """LiteLLM's name of the provider that a request for `name` would go to, or None if it finds none."""
        return _wants_login(name) or self._route(name)[1]

    def supported_params(self, name: str, mode: str | None) -> frozenset[str] | None:
        """OpenAI parameters that the model takes, or None if unknown."""
        if mode not in _MODES_WITH_PARAMS or _wants_login(name):
            return None
        bare, provider = self._route(name)
        found = or_none(litellm_module().get_supported_openai_params, model=bare, custom_llm_provider=provider)
        return None if found is None else frozenset(found)

    def _route(self, name: str) -> tuple[str, str | None]:
        bare, provider, *_ = or_none(litellm_module().get_llm_provider, model=name) or (name, None)
        return bare, provider


def _wants_login(name: str) -> str | None:
    """The provider before `name`, if LiteLLM would begin a login or make a folder where it is asked about it."""
    return next((provider for provider in _PROVIDERS_WITH_LOGIN if name.startswith(f"{provider}/")), None)
