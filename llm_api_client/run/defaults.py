"""Parameters of requests that don't say otherwise: the model's, and below them the client's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llm_api_client.errors import ConfigurationError, InvalidInputError
from llm_api_client.prepare.check import check_request
from llm_api_client.run.keys import AskedKey, key_or_asked

_ADDRESSES = frozenset({"api_base", "base_url"})
_OTHER_NAME = {
    "api_base": "base_url", "base_url": "api_base",
    "max_completion_tokens": "max_tokens", "max_tokens": "max_completion_tokens",
    "request_timeout": "timeout", "timeout": "request_timeout",
}  # fmt: skip
"""Parameters that say the same by two names: who gives one has also said the other."""


@dataclass(frozen=True, slots=True)
class _Level:
    """Parameters, and whether the key among them belongs to the address among them: they were given together."""

    params: Mapping[str, Any]
    key_has_address: bool = False


class Defaults:
    """What requests carry that don't say otherwise.

    The request wins over its model's parameters, and these over the client's. A key that was given together with a
    base URL is sent nowhere else: a base URL that wins over that one leaves the key behind too.

    Args:
        shared: Parameters of all requests.
        by_model: Parameters of single models' requests, by the name that requests use.

    Raises:
        ConfigurationError: These are no parameters of requests, or `api_key` is neither a key nor a callable.
    """

    def __init__(self, shared: Mapping[str, Any], by_model: Mapping[str, Mapping[str, Any]]) -> None:
        self._shared = _above(_Level({}), _with_key(shared))
        self._by_model = {
            model: _above(self._shared, _checked(model, given, f"model_defaults[{model!r}]"))
            for model, given in by_model.items()
        }

    def complete(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A request with what it leaves open. An `api_key` may be an `AskedKey`."""
        return _over(self._by_model.get(request["model"], self._shared), request)

    def says(self, model: str, param: str) -> bool:
        """Whether requests to a model that leave a parameter open have one."""
        return param in self._by_model.get(model, self._shared).params

    def renew_keys(self) -> None:
        """Let keys that could not be had, or were refused for good, be asked for again."""
        for level in (self._shared, *self._by_model.values()):
            key = level.params.get("api_key")
            if isinstance(key, AskedKey):
                key.renew()


def _above(lower: _Level, given: Mapping[str, Any]) -> _Level:
    params = _over(lower, given)
    together = not _ADDRESSES.isdisjoint(given) if "api_key" in given else lower.key_has_address
    return _Level(params, together and "api_key" in params)


def _over(lower: _Level, given: Mapping[str, Any]) -> dict[str, Any]:
    said = _OTHER_NAME.keys() & given.keys()
    if not said:
        return {**lower.params, **given}
    gone = {_OTHER_NAME[name] for name in said}
    if lower.key_has_address and not said.isdisjoint(_ADDRESSES) and _address(given) != _address(lower.params):
        gone.add("api_key")
    return {**{name: value for name, value in lower.params.items() if name not in gone}, **given}


def _address(params: Mapping[str, Any]) -> Any:
    return params.get("api_base") or params.get("base_url")


def _checked(model: Any, given: Any, where: str) -> Mapping[str, Any]:
    """A model's parameters.

    Raises:
        ConfigurationError: No request could have them.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where} is a {type(given).__name__}; give a dict of parameters.")
    for name in ("model", "messages"):
        if name in given:
            raise ConfigurationError(f'{where} has "{name}", which every request gives itself; leave it out.')
    try:
        check_request({**given, "model": model, "messages": [{"role": "user", "content": ""}]})
        return _with_key(given)
    except (ConfigurationError, InvalidInputError) as fault:
        raise ConfigurationError(f"{where}: {fault.message}") from None


def _with_key(given: Mapping[str, Any]) -> Mapping[str, Any]:
    key = given.get("api_key")
    return given if key is None else {**given, "api_key": key_or_asked(key)}
