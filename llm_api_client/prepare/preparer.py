"""The station as a whole: a request in, what will be sent and its size out."""

import copy
import logging
import os
from collections.abc import Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any, Literal, Self

from llm_api_client.errors import ConfigurationError, ContextWindowExceededError
from llm_api_client.operations import CHAT, Operation, operation_of
from llm_api_client.prepare.check import check_request
from llm_api_client.prepare.counter import TokenCounter
from llm_api_client.prepare.files import as_upload
from llm_api_client.prepare.model import Message, ModelDoor
from llm_api_client.prepare.prompt import prompt_of, token_ids, with_texts_cut
from llm_api_client.prepare.sanitize import sanitize
from llm_api_client.prepare.tokens import most_tokens
from llm_api_client.prepare.truncate import Fitted, truncate, truncate_text
from llm_api_client.records import ModelFacts, Prepared

OVERRIDE_VARIABLE = "MAX_INPUT_TOKENS_OVERRIDE"
"""Environment: the context size of every model, whatever LiteLLM says."""

FALLBACK_VARIABLE = "MAX_CONTEXT_TOKENS_FALLBACK"
"""Environment: the context size of models whose size LiteLLM does not know."""

DEFAULT_MAX_CONTEXT_TOKENS = 100_000
"""The context size where neither LiteLLM nor the environment says one."""

LEAST_PROMPT_SHARE = 4
"""The room kept for the answer leaves the prompt at least one part in so many of the window. A `max_tokens` that asks
for more than the rest is no reason to throw the question away: the provider caps it, or says what is wrong."""

Overflow = Literal["truncate", "error", "ignore"]
_OVERFLOWS = ("truncate", "error", "ignore")


class Preparer:
    """Prepares requests of one client. Safe to call from many threads.

    Args:
        door: What is known of models; asked once per model, provider and address.
        on_context_overflow: What to do with a prompt that its model cannot hold: cut it, refuse it, or send it.
        name_providers: Whether requests that are not sanitized are looked up too, to name their provider.
        environ: Environment variables, read when they are needed. Default: those of the process.
        logger: Where warnings go, each said once.

    Raises:
        ConfigurationError: `on_context_overflow` is none of the three.
    """

    def __init__(
        self,
        door: ModelDoor,
        *,
        on_context_overflow: Overflow = "truncate",
        name_providers: bool = True,
        environ: Mapping[str, str] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        if on_context_overflow not in _OVERFLOWS:
            raise ConfigurationError(
                f'on_context_overflow is {on_context_overflow!r}; choose "truncate", "error" or "ignore"'
            )
        self._door = door
        self._on_overflow = on_context_overflow
        self._name_providers = name_providers
        self._environ = os.environ if environ is None else environ
        self._logger = logging.getLogger(__name__) if logger is None else logger
        self._counter = TokenCounter(door, self._logger)
        # Guards `_said`, so that two threads do not both say it. `_facts` needs no guard: to ask twice is harmless.
        self._lock = Lock()
        self._said: set[tuple[str, ...]] = set()
        self._facts: dict[tuple[str, str, str], ModelFacts] = {}
        self._otherwise = CHAT

    def asking_for(self, operation: Operation) -> Self:
        """The same preparer, for requests that ask for `operation` where they don't say."""
        other = copy.copy(self)
        other._otherwise = operation  # noqa: SLF001  its own
        return other

    def check(self, request: Any) -> str:
        """The model by whose limits a request is admitted.

        Raises:
            InvalidInputError: What is wrong with the request, where, and how to put it right.
        """
        check_request(request, self._otherwise)
        return str(request["model"])

    def prepare(
        self,
        request: Mapping[str, Any],
        *,
        sanitize: bool,
        count_prompt: bool = True,
        exactly: bool = True,
        response_format: Any = None,
    ) -> Prepared:
        """The request as it will be sent, and its size. The request itself is not changed.

        Args:
            request: A request that `check_request` let pass.
            sanitize: Whether to drop what the model does not take, and to mind its context size.
            count_prompt: Whether `prompt_tokens` matters; without, an estimate will do.
            exactly: Whether it must be counted, even if the estimates for the model have been corrected by now.
            response_format: A schema for the answer, for requests without one whose model keeps to schemas.

        Raises:
            ContextWindowExceededError: The prompt is too long, and `on_context_overflow` is "error", or it cannot be
                cut to fit, for its tools alone are too long.
        """
        operation = operation_of(request, self._otherwise)
        params = {name: value for name, value in request.items() if name != "endpoint"}
        model = str(params.get("model") or "")
        limit: int | None = None
        facts = self._facts_of(model, params) if model and (sanitize or self._name_providers) else ModelFacts(model)
        if sanitize and model:
            if operation.lists_params:
                params = self._kept(params, facts)
            elif operation.drops_params:
                params.setdefault("drop_params", True)
            limit = self._prompt_limit(facts, params) if self._on_overflow != "ignore" else None
        if response_format is not None and facts.takes_schema and operation.is_chat:
            params.setdefault("response_format", response_format)
        if operation.is_chat:
            tokens = self._fit_messages(params, facts, limit, exactly=count_prompt and exactly, counted=count_prompt)
        else:
            tokens = self._fit_texts(params, facts, limit, operation)
        bound, longest = _of_all_answers(_answer_bound(params), params), facts.max_output_tokens
        longest = bound or _of_all_answers(longest, params)
        if not operation.generates:
            bound = longest = 0
        return Prepared(params, model, tokens, bound, facts.provider, longest, operation)

    def _fit_messages(
        self, params: dict[str, Any], facts: ModelFacts, limit: int | None, *, exactly: bool, counted: bool
    ) -> int:
        """Cut a chat's messages to `limit` tokens; returns how many there are."""
        model, messages, tools = facts.model, prompt_of(params), params.get("tools")
        fits = limit is None or most_tokens(messages, tools) <= limit
        if fits and not (counted and (exactly or not self._counter.has_learned(model))):
            return self._counter.estimate(model, messages, tools)
        tokens = self._counter.count(model, messages, tools)
        if limit is None or tokens <= limit:
            return tokens
        if self._on_overflow == "error":
            raise _too_long(model, facts.provider, tokens, limit)
        fitted = self._fitted(model, messages, tools, tokens, limit)
        if fitted.tokens > limit:
            # Tools or calls that cannot be cut: better no answer than one, paid for, to an emptied question.
            raise _too_long(model, facts.provider, fitted.tokens, limit)
        params["messages"] = fitted.messages
        return fitted.tokens

    def _fit_texts(self, params: dict[str, Any], facts: ModelFacts, limit: int | None, operation: Operation) -> int:
        """Make what is no chat ready: files read, each text within `limit` tokens; returns how many there are in all.

        A model's limit is one for each text, and not for all of them together.
        """
        model = facts.model
        if "file" in operation.needs:
            params["file"] = as_upload(params.get("file"))

        if limit is not None and operation.keeps is not None:
            cut = partial(self._cut, facts, limit, operation.keeps)
            params.update(with_texts_cut(params, operation, cut))
        texts = prompt_of(params, operation)
        return (self._counter.count(model, texts) if texts else 0) + token_ids(params, operation)

    def _cut(self, facts: ModelFacts, limit: int, keeps: str, text: str) -> str:
        model = facts.model

        def count(message: Message) -> int:
            return self._counter.count(model, [message])

        message = {"role": "user", "content": text}
        tokens = 0 if most_tokens([message]) <= limit else count(message)
        if tokens <= limit:
            return text
        shorter = truncate_text(text, limit, count, keeps=keeps) if self._on_overflow == "truncate" else None
        if shorter is None:
            raise _too_long(model, facts.provider, tokens, limit)
        self._say_cut(model, tokens, limit, limit)
        return shorter

    def learn(self, prepared: Prepared, prompt_tokens: int) -> None:
        """Correct later estimates for the model by the tokens that the provider reported for this prompt."""
        prompt = prompt_of(prepared.params, prepared.operation)
        self._counter.learn(prepared.model, prompt, prepared.params.get("tools"), prompt_tokens)

    def sanitize_completion_request(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the request that its model will take: unsupported parameters dropped, messages within its context.

        Raises:
            ContextWindowExceededError: The prompt is too long, and `on_context_overflow` is "error".
        """
        return dict(self.prepare(request, sanitize=True, count_prompt=False).params)

    def remove_unsupported_params(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the request without the OpenAI parameters that its model does not take."""
        model = request.get("model")
        return self._kept(request, self._facts_of(model, request)) if isinstance(model, str) else dict(request)

    def takes(self, request: Mapping[str, Any], param: str) -> bool:
        """Whether the request's model takes a parameter of it; nothing is said of it."""
        _, dropped = sanitize(request, self._facts_of(str(request.get("model")), request))
        return param not in dict(dropped)

    def truncate_to_max_context_tokens(self, messages: Sequence[Message], model: str) -> list[Message]:
        """The messages that fit the model's context: the newest, and the instructions; the oldest are given up first.

        What fits already is returned as it is, in a new list.
        """
        limit = self.get_max_context_tokens(model)
        if most_tokens(messages) > limit:
            tokens = self._counter.count(model, messages)
            if tokens > limit:
                return self._fitted(model, messages, None, tokens, limit).messages
        return list(messages)

    def get_max_context_tokens(self, model: str) -> int:
        """Tokens that a prompt for the model may have.

        From the environment's `MAX_INPUT_TOKENS_OVERRIDE`, else from LiteLLM, else, with a warning, from the
        environment's `MAX_CONTEXT_TOKENS_FALLBACK`, or else 100,000.
        """
        known = self._from_environment(OVERRIDE_VARIABLE) or self._door.max_input_tokens(model)
        return known or self._fallback(model, self._from_environment(FALLBACK_VARIABLE) or DEFAULT_MAX_CONTEXT_TOKENS)

    def count_messages_tokens(self, messages: Sequence[Message], *, model: str, timeout: float = 10) -> int:
        """Tokens that the messages have for the model. Never raises and never waits.

        Where the model's tokenizer is not on this machine, it is the number of characters over 3. Of a text that
        would take longer than `timeout` seconds, a sample is counted and scaled up.
        """
        return self._counter.count(model, messages, timeout=timeout)

    def _facts_of(self, model: str, request: Mapping[str, Any]) -> ModelFacts:
        base_url = request.get("base_url") or request.get("api_base") or ""
        key = (model, str(request.get("custom_llm_provider") or ""), str(base_url))
        facts = self._facts.get(key)
        if facts is None:
            facts = self._facts.setdefault(key, self._door.facts(model, request))
        return facts

    def _kept(self, request: Mapping[str, Any], facts: ModelFacts) -> dict[str, Any]:
        if not facts.known:
            self._warn_once(
                ("unknown", facts.model), "model %r is not known to LiteLLM; its requests pass unchanged", facts.model
            )
        kept, dropped = sanitize(request, facts)
        for name, reason in dropped:
            self._warn_once(
                ("param", facts.model, name), "parameter %r dropped for model %r: %s", name, facts.model, reason
            )
        return kept

    def _prompt_limit(self, facts: ModelFacts, params: Mapping[str, Any]) -> int | None:
        """Tokens that the prompt may have, or None where nobody says how many: a guess is no reason to cut."""
        override = self._from_environment(OVERRIDE_VARIABLE)
        if override is not None:
            return override
        window = facts.max_input_tokens
        if window is None:
            said = self._from_environment(FALLBACK_VARIABLE)
            return None if said is None else self._fallback(facts.model, said)
        answer = _answer_bound(params) if facts.shared_window else None
        if answer is None:
            return window
        # The window is shared by the prompt and one answer; `n` answers have a window each.
        return max(window - min(answer, facts.max_output_tokens or answer), window // LEAST_PROMPT_SHARE)

    def _fitted(self, model: str, messages: Sequence[Message], tools: Any, tokens: int, limit: int) -> Fitted:
        fitted = truncate(
            messages, limit, self._counter.of_one_message(model), self._counter.overhead(model, tools) or 0
        )
        self._say_cut(model, tokens, fitted.tokens, limit)
        return fitted

    def _say_cut(self, model: str, tokens: int, left: int, limit: int) -> None:
        self._warn_once(
            ("cut", model),
            "a prompt of %d tokens was cut to %d, for %r holds %d beside its answer; this is said once per model",
            tokens,
            left,
            model,
            limit,
        )

    def _fallback(self, model: str, size: int) -> int:
        self._warn_once(("size", model), "context size of model %r is not known; %d tokens are assumed", model, size)
        return size

    def _from_environment(self, variable: str) -> int | None:
        value = self._environ.get(variable)
        if value is None:
            return None
        try:
            number = int(value)
        except ValueError:
            number = 0
        if number > 0:
            return number
        self._warn_once(("environment", variable), "%s is not a positive whole number and is ignored", variable)
        return None

    def _warn_once(self, key: tuple[str, ...], message: str, *args: object) -> None:
        with self._lock:
            news = key not in self._said
            self._said.add(key)
        if news:
            self._logger.warning(message, *args)


def _answer_bound(params: Mapping[str, Any]) -> int | None:
    """The most tokens that one answer may have, or None where the request does not say."""
    bound = params.get("max_completion_tokens") or params.get("max_tokens") or params.get("max_output_tokens")
    return bound if isinstance(bound, int) and bound > 0 else None


def _of_all_answers(one: int | None, params: Mapping[str, Any]) -> int | None:
    """Tokens of all the answers that a request asks for, where one has so many."""
    answers = params.get("n")
    return one if one is None else one * max(answers, 1) if isinstance(answers, int) else one


def _too_long(model: str, provider: str | None, tokens: int, limit: int) -> ContextWindowExceededError:
    return ContextWindowExceededError(
        f"the prompt has {tokens} tokens and {model!r} takes {limit} beside its answer; it was not sent. Shorten the "
        'messages, lower max_tokens, or let the client cut them with on_context_overflow="truncate"',
        model=model,
        provider=provider,
    )
