"""`python -m llm_api_client.cli` is `llm-api-client`."""

from llm_api_client.cli import console

if __name__ == "__main__":
    console()
