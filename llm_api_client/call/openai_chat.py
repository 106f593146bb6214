"""The OpenAI SDK's `client.chat` without its walk through every message.

The SDK looks each request over by its type annotations for keys to rename, which takes a tenth of a whole LiteLLM call
and finds none: LiteLLM has named them as the wire does. What the SDK takes as `extra_body` goes out as it is.
"""

from typing import Any


class _Wrapped:
    """All that its inner object is, but for what a subclass says itself."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Chat(_Wrapped):
    """A `client.chat` whose `completions.with_raw_response.create`, as LiteLLM calls it, sends what it is given."""

    @property
    def completions(self) -> Any:
        """The resource of that name."""
        return _Completions(self._inner.completions)


class _Completions(_Wrapped):
    @property
    def with_raw_response(self) -> Any:
        return _WithRawResponse(self._inner.with_raw_response)


_OF_THE_CALL = frozenset({"extra_headers", "extra_query", "stream", "timeout"})


class _WithRawResponse(_Wrapped):
    def create(self, *, model: Any, messages: Any, extra_body: Any = None, **params: Any) -> Any:
        of_the_call = {name: value for name, value in params.items() if name in _OF_THE_CALL}
        body = {name: value for name, value in params.items() if name not in _OF_THE_CALL}
        # As in the SDK, `extra_body` has the last word.
        body = {"model": model, "messages": messages, **body, **(extra_body or {})}
        return self._inner.create(model=model, messages=(), extra_body=body, **of_the_call)
