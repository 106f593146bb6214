"""An endpoint of a service: where it is, what it takes, and how often it may be asked."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llm_api_client.clock import Clock
from llm_api_client.errors import ConfigurationError
from llm_api_client.prepare.payloads import Schema, payload_of
from llm_api_client.service.rate_limiter import SimpleRateLimiter


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint, with limits of its own.

    Attributes:
        path: Below the service's base URL, such as "chat/completions".
        max_requests: Requests in any `interval`; None for no limit.
        max_tokens: Tokens in any `interval`; None for no limit.
        interval: Seconds.
        schema: Names of the parameters that it takes; None lets any name pass.
        config: Defaults of its parameters.
        method: How it is asked. With "GET" the parameters go into the address, otherwise they are the body, as JSON.
        clock: Time itself, for tests.
        limiter: Its rate limiter, which spreads requests over the interval. A service has a copy of each of its
            endpoints, and thus limiters of its own.

    Raises:
        ConfigurationError: There is no path, a limit is none, or the config has names that the schema does not have.
    """

    path: str
    max_requests: int | None = None
    max_tokens: int | None = None
    interval: float = 60.0
    schema: Schema | None = None
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    method: str = "POST"
    clock: Clock | None = field(default=None, repr=False, compare=False)
    limiter: SimpleRateLimiter = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not self.path.strip("/ "):
            raise ConfigurationError(f'path must be like "chat/completions"; it is {self.path!r}.')
        if not isinstance(self.config, Mapping):
            raise ConfigurationError(f"config is a {type(self.config).__name__}; give a dict of parameters.")
        if self.schema is not None:
            unknown = [name for name in self.config if name not in (*self.schema.required, *self.schema.optional)]
            if unknown:
                raise ConfigurationError(f"config has {', '.join(map(repr, unknown))}, which the schema does not name.")
        object.__setattr__(self, "config", dict(self.config))
        limiter = SimpleRateLimiter(self.max_requests, self.max_tokens, self.interval, paced=True, clock=self.clock)
        object.__setattr__(self, "limiter", limiter)

    def payload(self, **params: Any) -> dict[str, Any]:
        """A payload for it: these parameters, and for the rest its defaults. None leaves one out, 0 and False do not.

        Raises:
            InvalidInputError: Required parameters are missing, all of which it says; or one has an unknown name.
        """
        return payload_of(params, self.config, self.schema)
