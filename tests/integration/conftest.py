"""A LiteLLM Proxy for all tests of a session, a simulated provider behind it, and clients of either."""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from llm_api_client import APIClient, RetryPolicy, SimulatedProvider

from .environment import IndexUnreachableError, proxy_python
from .proxy import KEY, LiteLLMProxy


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Show with a failed test what the proxy has said last."""
    report = yield
    proxy = getattr(item, "funcargs", {}).get("proxy")
    if report.failed and proxy is not None:
        report.sections.append((f"LiteLLM Proxy: {proxy.log}", proxy.tail()))
    return report


@pytest.fixture(scope="session")
def _provider_behind() -> Iterator[SimulatedProvider]:
    with SimulatedProvider() as provider:
        yield provider


@pytest.fixture(scope="session")
def _running_proxy(
    _provider_behind: SimulatedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiteLLMProxy]:
    try:
        python = proxy_python()
    except IndexUnreachableError as error:
        pytest.skip(f"the package index does not give the LiteLLM Proxy: {error}")
    with LiteLLMProxy(python, tmp_path_factory.mktemp("proxy"), _provider_behind.base_url) as proxy:
        yield proxy


@pytest.fixture
def behind(_provider_behind: SimulatedProvider) -> SimulatedProvider:
    """The provider behind the proxy, having seen nothing."""
    _provider_behind.reset()
    return _provider_behind


@pytest.fixture
def proxy(_running_proxy: LiteLLMProxy, behind: SimulatedProvider) -> LiteLLMProxy:
    """The proxy, with a provider behind it that has seen nothing."""
    return _running_proxy


@pytest.fixture
def make(proxy: LiteLLMProxy, litellm: ModuleType) -> Iterator[Callable[..., APIClient]]:
    """Makes clients of the proxy, with any option; retries wait for next to nothing."""
    made = []

    def client(**options: Any) -> APIClient:
        given = {
            "base_url": proxy.base_url,
            "api_key": KEY,
            "progress": False,
            "retry": RetryPolicy(initial_delay=0.01),
        }
        made.append(APIClient(**{**given, **options}))
        return made[-1]

    yield client
    for each in made:
        each.close()


@pytest.fixture
def client(make: Callable[..., APIClient]) -> APIClient:
    return make()
