"""By what a checkpoint knows a request: a hash of all that is sent. Pure.

The form is a contract: a change of it would have every kept answer asked, and paid for, again. An identity is the first
128 bits of the SHA-256 of the call's parameters as JSON: keys sorted, no spaces, everything beyond ASCII escaped. Of
the parameters,

- what is None is left out: it is as good as not given;
- what only controls the call (`CONTROLS`, and every price: `input_cost_per_token`, …) is left out;
- secrets are left out: parameters, and headers in `HEADERS`, whose name says that they hold one, and what looks like
  one in the base URL;
- `api_base` is written as `base_url`, and of both `base_url` counts;
- of what is no chat, the name of its operation is added as `endpoint`;
- bytes are the SHA-256 of their content;
- tuples are lists, mappings are dicts, a Pydantic model is its dump, and a Pydantic class its schema.

Whatever else is sent counts: another temperature, user or header is another request.
"""

import json
import sys
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from typing import Any

from llm_api_client.errors import InvalidInputError
from llm_api_client.operations import CHAT, Operation
from llm_api_client.secrets import is_secret_name, scrubbed

SIZE = 16
"""Bytes of an identity."""

CONTROLS = frozenset({
    # how long, how often, over which connection
    "timeout", "request_timeout", "stream_timeout", "force_timeout", "mock_timeout", "client_side_timeout",
    "max_retries", "num_retries", "retry_policy", "retry_strategy", "cooldown_time",
    "client", "shared_session", "http_client", "ssl_verify", "ssl_certificate", "max_parallel_requests",
    # who is told, and by what name
    "metadata", "litellm_metadata", "litellm_call_id", "litellm_trace_id", "litellm_session_id", "completion_call_id",
    "litellm_logging_obj", "litellm_request_debug", "litellm_disabled_callbacks", "logger_fn", "verbose", "no-log",
    "callbacks", "success_callback", "failure_callback", "service_callback", "input_callback",
    "log_client_error_tracebacks", "turn_off_message_logging", "proxy_server_request", "tags",
    # what is kept for later
    "cache", "caching", "caching_groups", "cache_key", "preset_cache_key", "ttl",
})  # fmt: skip
"""Parameters that say how a call is made, and nothing of what is asked."""

HEADERS = frozenset({"headers", "extra_headers", "default_headers"})
"""Parameters whose own names may be those of secrets."""


def identity_of(params: Mapping[str, Any], operation: Operation = CHAT) -> bytes:
    """The identity of a call with these parameters: 16 bytes.

    Raises:
        InvalidInputError: A parameter is of a kind that has no form in JSON, so that equal requests cannot be told.
    """
    sent = _sent(params)
    if operation is not CHAT:
        sent["endpoint"] = operation.name
    try:
        text = _JSON.encode(sent)
    except (TypeError, ValueError, RecursionError):
        # Keys of several types cannot be sorted as they are; else there is a parameter to be named.
        text = _JSON.encode({name: _normal(name, value) for name, value in sent.items()})
    return sha256(text.encode("ascii")).digest()[:SIZE]


def _sent(params: Mapping[str, Any]) -> dict[str, Any]:
    sent = {name: value for name, value in params.items() if value is not None and _counts(name)}
    if "api_base" in sent:
        sent.setdefault("base_url", sent.pop("api_base"))
    url = sent.get("base_url")
    if isinstance(url, str) and ("@" in url or "=" in url):
        sent["base_url"] = scrubbed(url)
    for name, value in sent.items():
        if name in HEADERS and isinstance(value, Mapping):
            sent[name] = {header: text for header, text in value.items() if not is_secret_name(header)}
        elif type(value) is dict and any(type(key) is not str for key in value):
            sent[name] = _normal(name, value)
    return sent


@lru_cache(maxsize=1_024)
def _counts(name: Any) -> bool:
    # The same few names come with every request.
    return not (name in CONTROLS or is_secret_name(name) or "_cost_per_" in str(name))


def _normal(name: str, value: Any) -> Any:
    """A parameter's value as JSON reads it again.

    Raises:
        InvalidInputError: It has no form in JSON.
    """
    try:
        normal = _with_names(value)
        _JSON.encode(normal)
    except (TypeError, ValueError, RecursionError) as wrong:
        why = "is nested too deeply, or contains itself" if isinstance(wrong, RecursionError) else str(wrong)
        message = (
            f'"{name}" {why}; a checkpoint knows a request by what is sent, as JSON. Give strings, numbers, lists, '
            "dicts, or Pydantic models"
        )
        raise InvalidInputError(message) from None
    return normal


def _with_names(value: Any) -> Any:
    """A copy whose keys are strings, as JSON makes them."""
    if isinstance(value, Mapping):
        named = {_name(key): _with_names(item) for key, item in value.items()}
        if len(named) < len(value):
            raise ValueError("has keys that are one and the same in JSON")
        return named
    if isinstance(value, (list, tuple)):
        return [_with_names(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    return _with_names(_plain(value))


def _name(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, (int, float)):
        return _JSON.encode(key)
    message = f"has a key of type {type(key).__name__}"
    raise TypeError(message)


def _plain(value: Any) -> Any:
    """What JSON has no form for, as what it has.

    Raises:
        TypeError: There is none. The message does not show the value.
    """
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (bytes, bytearray)):
        return {"sha256": sha256(value).hexdigest()}
    pydantic = sys.modules.get("pydantic")
    if pydantic is not None:
        model = pydantic.BaseModel
        try:
            if isinstance(value, type) and issubclass(value, model):
                return _schema(value)
            if isinstance(value, model):
                return value.model_dump(mode="json", warnings=False)
        except Exception:  # noqa: BLE001  whatever Pydantic finds, it would quote the value
            message = f"holds a Pydantic {type(value).__name__} that Pydantic cannot write as JSON"
            raise TypeError(message) from None
    kind = f"the class {value.__name__}" if isinstance(value, type) else f"an object of type {type(value).__name__}"
    message = f"holds {kind}"
    raise TypeError(message)


@lru_cache(maxsize=100)
def _schema(model: Any) -> Any:
    # A batch asks for the same class over and over.
    return model.model_json_schema()


# C writes it in one pass, and finds by its depth what contains itself.
_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"), check_circular=False, default=_plain)
