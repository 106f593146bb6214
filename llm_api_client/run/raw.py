"""Plain HTTP on the engine's road: how a request to any endpoint is prepared, and by what it is sent and counted."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from llm_api_client.call.http_door import HTTPDoor, join
from llm_api_client.errors import ConfigurationError, InvalidInputError
from llm_api_client.operations import CHAT, Operation, operation_named
from llm_api_client.prepare.prompt import prompt_of, token_ids
from llm_api_client.prepare.tokens import estimate_tokens
from llm_api_client.records import Attempt, Kind, Prepared, Usage
from llm_api_client.run.road import Send, Tracks

RAW = Operation("a raw call", "", "", (), ("messages", "prompt", "input"), generates=True, priced_by_tokens=True)
"""What an endpoint is asked for that is none of OpenAI's."""

_HANDED_ON = ("api_key", "files", "params", "timeout")
_READ_TOO = ("tools", "response_format")


class RawPreparer:
    """Prepares requests to any endpoint; nothing is dropped or cut.

    A request has `endpoint`, such as "chat/completions", and `model`, by whose limits it is admitted, or "" for none;
    and of the following what it needs: `method` (default "POST"), `payload`, `params` for the URL, `headers`, and
    `files`, with which the payload is a form. Address, key and timeout are `base_url`, `api_key` and `timeout`, which
    the road's defaults give to requests without.

    Args:
        provider_of: The provider's name, for a model and a base URL.
    """

    def __init__(self, provider_of: Callable[[str, str], str | None] = lambda _, __: None) -> None:
        self._provider_of = provider_of
        self._providers: dict[tuple[str, str], str | None] = {}

    def check(self, request: Any) -> str:
        """The model by whose limits a request is admitted.

        Raises:
            InvalidInputError: What is wrong with the request, and how to put it right.
        """
        if not isinstance(request, Mapping):
            raise InvalidInputError(
                f'the request is a {type(request).__name__}; give a dict like {{"model": "", "endpoint": "models"}}'
            )
        for name in ("model", "endpoint"):
            if not isinstance(request.get(name), str):
                raise InvalidInputError(f'"{name}" is a {type(request.get(name)).__name__}; give a string')
        payload = request.get("payload")
        if payload is not None and not isinstance(payload, Mapping):
            raise InvalidInputError(
                f'the payload is a {type(payload).__name__}; give a dict like {{"model": "gpt-4o"}}'
            )
        if not request.get("files"):
            _check_json(payload)
        return str(request["model"])

    def prepare(
        self,
        request: Mapping[str, Any],
        *,
        sanitize: bool = False,  # noqa: ARG002  there is nothing that could be dropped
        count_prompt: bool = True,  # noqa: ARG002  an estimate costs nothing
        exactly: bool = True,  # noqa: ARG002  likewise
        response_format: Any = None,  # noqa: ARG002  the payload is sent as it is
    ) -> Prepared:
        """The request as `HTTPDoor.send` takes it, and its size. The request itself is not changed.

        Raises:
            ConfigurationError: There is no base URL, or it is none.
            InvalidInputError: The endpoint is on another server.
        """
        base_url = request.get("base_url") or request.get("api_base")
        if base_url is None:
            raise ConfigurationError(
                'There is no server to send to; name one, as in APIClient(base_url="https://api.openai.com/v1").'
            )
        endpoint, payload, model = request["endpoint"], request.get("payload"), str(request["model"])
        params = {
            "method": request.get("method", "POST"),
            "url": join(base_url, endpoint),
            "base_url": base_url,  # for messages, and to know whose key was refused
            "headers": {**(request.get("extra_headers") or {}), **(request.get("headers") or {})},
            **{name: request[name] for name in _HANDED_ON if request.get(name) is not None},
        }
        if payload is None:
            return Prepared(params, model, 0, 0, self._provider(model, base_url), 0, RAW)
        params["data" if request.get("files") else "json"] = payload
        operation = _operation_at(endpoint, payload)
        prompt = prompt_of(payload, operation)
        tokens = estimate_tokens(prompt, payload.get("tools")) + token_ids(payload, operation)
        bound = _answer_bound(payload) if operation.generates else 0
        # The door looks at none of these; what bounds a call's cost knows a prompt by them.
        params |= {name: payload[name] for name in (*operation.prompt, *_READ_TOO) if name in payload}
        return Prepared(params, model, tokens, bound, self._provider(model, base_url), bound, operation)

    def learn(self, prepared: Prepared, prompt_tokens: int) -> None:
        """Nothing: what an estimate is off by is settled when the answer comes."""

    def _provider(self, model: str, base_url: str) -> str | None:
        key = model, base_url
        if model and key not in self._providers:
            self._providers[key] = self._provider_of(model, base_url)
        return self._providers.get(key)


class Unbilled:
    """A tracker for calls that nobody bills: of them only their number and their time count."""

    def __init__(self, tracker: Tracks) -> None:
        self.record_start = tracker.record_start
        self.record_end = tracker.record_end
        self.record_replay = tracker.record_replay
        self.record_cache_hit = tracker.record_cache_hit
        self._record_attempt = tracker.record_attempt

    def record_attempt(self, attempt: Attempt) -> None:
        """Count one call; what is not known of an answer is nothing."""
        if attempt.verdict.kind is Kind.ANSWERED:
            attempt = replace(attempt, usage=attempt.usage or Usage(0, 0), cost=attempt.cost or 0.0)
        self._record_attempt(attempt)


def through(door: HTTPDoor) -> Send:
    """What performs a road's calls, over a door."""

    def send(prepared: Prepared, params: Mapping[str, Any], on_sent: Callable[[], None]) -> Any:
        return door.send(params, prepared.provider, on_sent)

    return send


def _check_json(payload: Any) -> None:
    try:
        json.dumps(payload, ensure_ascii=False, allow_nan=False).encode()
    except (RecursionError, TypeError, ValueError) as fault:
        # Not as the cause: some of these hold the payload.
        message = f"the payload cannot be sent as JSON: {fault}; give plain data"
    else:
        return
    raise InvalidInputError(message)


def _operation_at(endpoint: str, payload: Mapping[str, Any]) -> Operation:
    """What a payload asks for, by where it is sent."""
    if isinstance(payload.get("messages"), list):
        return CHAT
    path = endpoint.partition("?")[0].strip("/")
    try:
        return operation_named(path.removeprefix("v1/"))
    except InvalidInputError:
        return RAW


def _answer_bound(payload: Mapping[str, Any]) -> int | None:
    """The most tokens that all answers may have together, or None where the payload does not say."""
    names = ("max_completion_tokens", "max_tokens", "max_output_tokens")
    bound = next((payload[name] for name in names if payload.get(name)), None)
    if not isinstance(bound, int) or bound <= 0:
        return None
    number = payload.get("n")
    return bound * max(number, 1) if isinstance(number, int) else bound
