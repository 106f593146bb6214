"""A LiteLLM Proxy as a process of its own on loopback, without a database."""

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import httpx

KEY = "sk-made-up-0123456789abcdefghij"
"""The one key that the proxy takes."""
LIMIT = 3
"""Requests that the proxy admits in a window for the model "limited"."""
WINDOW = 2
"""Length of that window, in seconds."""
DEAR = 0.001
"""US dollars that a token of an answer costs by the model "assistant", whose prompts are free."""

_START_SECONDS = 180
_STOP_SECONDS = 20

# Without a database the proxy knows no key but its master's, and has no 401 for others. A rule of the operator's own
# is the documented way to have some.
_RULE = f"""
from litellm.proxy._types import ProxyException, UserAPIKeyAuth


async def check(request, api_key):
    if api_key != {KEY!r}:
        raise ProxyException("This key is not known here.", type="auth_error", param="key", code=401)
    return UserAPIKeyAuth(api_key=api_key, user_id="ada")
"""


def _config(provider_url: str) -> dict[str, Any]:
    behind = {"api_key": "sk-of-the-provider", "api_base": provider_url}
    chat = {"model": "openai/gpt-4o-mini", **behind}
    dear = {**chat, "input_cost_per_token": 0.0, "output_cost_per_token": DEAR}
    models = {
        "canned": {**chat, "mock_response": "Said by the proxy."},
        "gpt-4o-mini": chat,
        "gpt-4o": dear,
        "assistant": dear,
        "limited": {**chat, "default_api_key_rpm_limit": LIMIT},
        "text-embedding-3-small": {"model": "openai/text-embedding-3-small", **behind},
    }
    return {
        "model_list": [{"model_name": name, "litellm_params": params} for name, params in models.items()],
        # What fails is told to the client under test, whose business retries are.
        "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        "litellm_settings": {"num_retries": 0},
        "general_settings": {"master_key": "sk-of-the-master", "custom_auth": "rule.check"},
    }


class LiteLLMProxy:
    """Starts with the context, and is gone with it.

    Args:
        python: The Python that has the proxy.
        folder: Where its configuration and its log are kept.
        provider_url: Address of the provider behind it.
    """

    def __init__(self, python: Path, folder: Path, provider_url: str) -> None:
        self.log = folder / "proxy.log"
        self.start_seconds = 0.0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.base_url = f"{self.address}/v1"
        (folder / "rule.py").write_text(_RULE)
        config = folder / "config.yaml"
        config.write_text(json.dumps(_config(provider_url)))  # JSON is YAML
        self._command = [
            str(python), "-c", "from litellm.proxy.proxy_cli import run_server; run_server()",
            "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False",
        ]  # fmt: skip
        self._environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(folder),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_RATE_LIMIT_WINDOW_SIZE": str(WINDOW),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        began = time.monotonic()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment, cwd=self.log.parent
            )
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > began + _START_SECONDS:
                self.__exit__()
                raise RuntimeError(f"the LiteLLM Proxy did not start; its log ends:\n{self.tail()}")
            time.sleep(0.1)
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def tail(self, lines: int = 60) -> str:
        """The end of its log, but for what went well."""
        said = self.log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in said if not line.endswith("200 OK")][-lines:])

    def has_said(self, text: str) -> int:
        """How often its log has this text so far."""
        return self.log.read_text(errors="replace").count(text)

    def _is_up(self) -> bool:
        try:
            return httpx.get(f"{self.address}/health/liveliness", trust_env=False, timeout=5).is_success
        except httpx.TransportError:
            return False
