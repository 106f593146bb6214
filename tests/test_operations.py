"""The table of what can be asked for."""

from pathlib import Path

import pytest

from llm_api_client.errors import InvalidInputError
from llm_api_client.operations import CHAT, OPERATIONS, operation_named, operation_of

BY_NAME = {operation.name: operation for operation in OPERATIONS}


def test_each_is_named_by_its_name_and_its_path():
    """A name, a path, and the path without the version are one and the same."""
    for operation in OPERATIONS:
        for name in (operation.name, operation.path, operation.path.removeprefix("/v1/")):
            assert operation_named(name) is operation
    assert len(BY_NAME) == len({operation.path for operation in OPERATIONS}) == len(OPERATIONS) == 9


@pytest.mark.parametrize(
    ("name", "like"),
    [("embedding", "embeddings"), ("/v1/chat/completion", "/v1/chat/completions"), ("transcribe", "transcription")],
)
def test_a_name_that_is_none_is_told_a_like_one(name, like):
    """The error names all that there are, and the one that was probably meant."""
    with pytest.raises(InvalidInputError) as raised:
        operation_named(name)
    assert all(operation.name in str(raised.value) for operation in OPERATIONS)
    assert str(raised.value).endswith(f"it is like {like!r}")


@pytest.mark.parametrize("name", ["xyzzy", 7.5, ["chat"], b"chat"])
def test_what_is_no_name_is_not_shown(name):
    """What is no string is told by its type, and nothing is guessed where nothing is near."""
    with pytest.raises(InvalidInputError, match=r"rerank$") as raised:
        operation_named(name)
    assert (repr(name) in str(raised.value)) is isinstance(name, str)


def test_a_request_says_it_or_does_not():
    """A request's own endpoint wins over that of its batch; None is as good as none."""
    assert operation_of({"endpoint": "rerank"}, BY_NAME["image"]).name == "rerank"
    assert operation_of({"endpoint": None}, BY_NAME["image"]).name == "image"
    assert operation_of({}) is CHAT
    with pytest.raises(InvalidInputError):
        operation_of({"endpoint": ""})


def test_only_a_chat_has_messages():
    """Every operation's prompt is among its needs, or optional, and only the chat's is messages."""
    assert [operation.name for operation in OPERATIONS if operation.is_chat] == ["chat"]
    assert {operation.name for operation in OPERATIONS if operation.keeps} == {"completion", "embeddings"}
    for operation in OPERATIONS:
        assert operation.priced_by_tokens or not operation.generates


def test_the_page_has_them_all():
    """The documentation's table has each operation with LiteLLM's function, what it needs and its path."""
    page = (Path(__file__).parent.parent / "docs" / "endpoints.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    shown = {row[0].strip(" `"): [cell.replace("`", "").strip() for cell in row[1:]] for row in rows if len(row) > 4}
    assert {name: (cells[1], cells[2], cells[3]) for name, cells in shown.items()} == {
        operation.name: (operation.function, ", ".join(operation.needs), operation.path) for operation in OPERATIONS
    }
