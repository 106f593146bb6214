"""A client's options from a file: JSON or TOML, with values from the environment.

Each fault is named by the key's path in the file, and no text of the file is ever shown: it may be a secret.
"""

import logging
import os
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar, get_args

from llm_api_client.admit.rates import RateLimit
from llm_api_client.api_client.options import check_positive
from llm_api_client.call.retry import RetryPolicy
from llm_api_client.call.sender import Transport
from llm_api_client.errors import ConfigurationError
from llm_api_client.prepare.preparer import Overflow
from llm_api_client.record.cache import ResponseCache

T = TypeVar("T")

logger = logging.getLogger(__name__)

_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*\})?")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a value may be.

    Attributes:
        wanted: In words, for people.
        types: Its types.
        choices: What it must be one of, if not empty.
        is_limit: Whether -1, null and "none" say that there is none.
    """

    wanted: str
    types: tuple[type, ...]
    choices: tuple[str, ...] = ()
    is_limit: bool = False


_WHOLE = _Kind("a whole number", (int,))
_NUMBER = _Kind("a number", (int, float))
_TEXT = _Kind("a string", (str,))
_TRUTH = _Kind("true or false", (bool,))
_TABLE = _Kind("a table", (dict,))
_COUNT, _AMOUNT = replace(_WHOLE, is_limit=True), replace(_NUMBER, is_limit=True)

_OPTIONS = {
    "max_requests_per_minute": _COUNT,
    "max_tokens_per_minute": _COUNT,
    "max_workers": _COUNT,
    "max_delay_seconds": _AMOUNT,
    "api_key": _TEXT,
    "base_url": _TEXT,
    "request_timeout": _AMOUNT,
    "models": _TABLE,
    "retry": _TABLE,
    "cache": _TABLE,
    "transport": replace(_TEXT, choices=get_args(Transport)),
    "checkpoint": _TEXT,
    "max_cost": _AMOUNT,
    "allow_unpriced": _TRUTH,
    "on_context_overflow": replace(_TEXT, choices=get_args(Overflow)),
    "history_limit": _COUNT,
    "progress": _TRUTH,
}
_LIMITS = {field.name: _COUNT for field in fields(RateLimit)}
_MODEL = {**_LIMITS, "api_key": _TEXT, "base_url": _TEXT, "request_timeout": _AMOUNT, "parameters": _TABLE}
_CACHE = {"path": _TEXT, "ttl": _NUMBER, "max_entries": _COUNT, "max_bytes": _COUNT}
_RETRY = {field.name: _NUMBER for field in fields(RetryPolicy)}

_GROQ = {
    "req_per_minute": "requests_per_minute",
    "req_per_day": "requests_per_day",
    "token_per_minute": "tokens_per_minute",
    "token_per_day": "tokens_per_day",
}
"""Limits by the names of CustomGroqChat, whose files are tables of models and nothing else; and by ours."""
_GROQ_MODEL = {**dict.fromkeys(_GROQ, _COUNT), "base_url": _TEXT, "api_key": _TEXT, "context_window": _COUNT}


def options_from(
    path: str | os.PathLike[str], *, without: Collection[str] = (), environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The options that a file has, as the client's constructor takes them.

    Args:
        path: A file in JSON (.json) or TOML (.toml).
        without: Options that are not wanted; what the file has for them is not looked at.
        environ: Environment variables. Default: those of the process.

    Raises:
        ConfigurationError: The file cannot be read, or what it says cannot be used.
    """
    file = Path(path)
    try:
        data = {name: value for name, value in _parsed(file).items() if name not in without}
        data = _expanded(data, "", os.environ if environ is None else environ)
        if data and all(isinstance(value, dict) and not _GROQ.keys().isdisjoint(value) for value in data.values()):
            return _models({name: _from_groq(name, table) for name, table in data.items()}, "")
        return _options(data, file.parent)
    except ConfigurationError as fault:
        raise ConfigurationError(f"{file}: {fault.message}") from fault.__cause__


def _parsed(file: Path) -> dict[str, Any]:
    """What a file says."""
    form = file.suffix.lower()
    if form not in {".json", ".toml"}:
        raise ConfigurationError("it is read by its name's end, which must be .json or .toml.")
    try:
        text = file.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError as fault:
        raise ConfigurationError(f"it cannot be read ({fault.strerror or type(fault).__name__}).") from fault
    if "\ufffd" in text:
        raise ConfigurationError("it is not UTF-8.")
    data = _from_json(text) if form == ".json" else _from_toml(text)
    if not isinstance(data, dict):
        raise ConfigurationError(f"it is {_kind_of(data)}; give a table of options.")
    return data


def _from_json(text: str) -> Any:
    import json  # noqa: PLC0415  one of the two is needed

    try:
        return json.loads(text)
    except json.JSONDecodeError as fault:
        wrong = f"it is not JSON: {fault.msg} (line {fault.lineno})."
    except RecursionError:
        wrong = "it is nested too deeply."
    # Not while the parser's own error is at hand: that holds the text, and would be kept with this one.
    raise ConfigurationError(wrong)


def _from_toml(text: str) -> Any:
    import tomllib  # noqa: PLC0415  one of the two is needed

    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        # Some of its messages quote the text.
        at = re.search(r"at (line \d+|end of document)", str(fault))
        wrong = f"it is not TOML (at {at[1] if at else 'some line'})."
    except RecursionError:
        wrong = "it is nested too deeply."
    raise ConfigurationError(wrong)


def _expanded(value: Any, path: str, environ: Mapping[str, str]) -> Any:
    """A value with `${NAME}` replaced in every string of it."""
    if isinstance(value, dict):
        return {name: _expanded(item, f"{path}.{name}" if path else name, environ) for name, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, f"{path}[{index}]", environ) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def meant(found: re.Match[str]) -> str:
        if found[0] == "$${":
            return "${"
        name = (found[1] or "").removesuffix("}")
        if not name:
            message = (
                f"{path} has ${{ and not the name of a variable after it; write $${{ for the characters themselves."
            )
            raise ConfigurationError(message)
        if name not in environ:
            raise ConfigurationError(f"{path} names the environment variable {name}, which is not set.")
        return environ[name]

    return _VARIABLE.sub(meant, value)


def _options(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    options = _values(data, "", _OPTIONS)
    if "checkpoint" in options:
        options["checkpoint"] = folder / options["checkpoint"]
    if "cache" in options:
        cache = _values(options["cache"], "cache", _CACHE)
        if "path" in cache:
            cache["path"] = folder / cache["path"]
        options["cache"] = _made(ResponseCache, "cache", cache)
    if "retry" in options:
        options["retry"] = _made(RetryPolicy, "retry", _values(options["retry"], "retry", _RETRY))
    models = {
        model: _values(_typed(table, f"models.{model}", _TABLE), f"models.{model}", _MODEL)
        for model, table in options.pop("models", {}).items()
    }
    return {**options, **_models(models, "models.")}


def _models(models: Mapping[str, dict[str, Any]], prefix: str) -> dict[str, Any]:
    """`model_limits` and `model_defaults`, from each model's values."""
    limits: dict[str, RateLimit] = {}
    defaults: dict[str, dict[str, Any]] = {}
    for model, values in models.items():
        own = {name: values[name] for name in _LIMITS.keys() & values.keys()}
        if own:
            limits[model] = _made(RateLimit, prefix + model, own)
        params = {
            **values.get("parameters", {}),
            **{name: values[name] for name in ("api_key", "base_url") if name in values},
        }
        if "request_timeout" in values:
            check_positive(f"{prefix}{model}.request_timeout", values["request_timeout"])
            params["timeout"] = values["request_timeout"]
        if params:
            defaults[model] = params
    found = {"model_limits": limits, "model_defaults": defaults}
    return {name: by_model for name, by_model in found.items() if by_model}


def _from_groq(model: str, table: Any) -> dict[str, Any]:
    values = _values(table, model, _GROQ_MODEL)
    if values.pop("context_window", None) is not None:
        logger.warning("%s.context_window is not used: LiteLLM's table says how much a model holds.", model)
    return {_GROQ.get(name, name): value for name, value in values.items()}


def _values(data: Mapping[str, Any], path: str, kinds: Mapping[str, _Kind]) -> dict[str, Any]:
    """The values of a table, each of its kind; null, where it is not a limit, is as good as nothing."""
    prefix = f"{path}." if path else ""
    for name, value in data.items():
        if name not in kinds:
            raise _unknown(prefix, name, value, kinds)
    return {
        name: _typed(value, prefix + name, kinds[name])
        for name, value in data.items()
        if value is not None or kinds[name].is_limit
    }


def _typed(value: Any, path: str, kind: _Kind) -> Any:
    if kind.is_limit and (value is None or (isinstance(value, str) and value.lower() == "none")):
        return None
    if kind.is_limit and not isinstance(value, bool) and value == -1:
        return None
    if isinstance(value, float) and value.is_integer() and float not in kind.types:
        value = int(value)  # As 2e6 is read.
    if not isinstance(value, kind.types) or (isinstance(value, bool) and bool not in kind.types):
        none = ', or "none" for no limit' if kind.is_limit else ""
        raise ConfigurationError(f"{path} is {_kind_of(value)}; give {kind.wanted}{none}.")
    if value == "":
        raise ConfigurationError(f"{path} is empty; give {kind.wanted}, or leave it out.")
    if kind.choices and value not in kind.choices:
        raise ConfigurationError(f"{path} is none of {', '.join(kind.choices)}.")
    return value


def _unknown(prefix: str, name: str, value: Any, kinds: Collection[str]) -> ConfigurationError:
    from difflib import get_close_matches  # noqa: PLC0415  for this message only

    close = get_close_matches(name, kinds)
    cure = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(kinds)}."
    if isinstance(value, dict) and prefix.startswith("models."):
        cure = f"if the model is called {prefix.removeprefix('models.')}{name}, TOML wants its name in quotes."
    return ConfigurationError(f"{prefix}{name} is not known; {cure}")


def _made(cls: Callable[..., T], path: str, values: Mapping[str, Any]) -> T:
    try:
        return cls(**values)
    except ConfigurationError as fault:
        raise ConfigurationError(f"{path}: {fault.message}") from None


def _kind_of(value: Any) -> str:
    """What a value is, in the words of a file, without showing it."""
    if value is None:
        return "null"
    for types, words in (
        (bool, "true or false"), (int | float, "a number"), (str, "a string"), (list, "a list"), (dict, "a table"),
    ):  # fmt: skip
        if isinstance(value, types):
            return words
    return "a date or time"
