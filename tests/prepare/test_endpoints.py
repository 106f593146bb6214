"""What is no chat, made ready: its tokens counted, its texts within their limits, its files read."""

import io
from copy import deepcopy

import pytest

from llm_api_client.errors import ContextWindowExceededError, InvalidInputError
from llm_api_client.operations import OPERATIONS
from llm_api_client.prepare import Preparer
from llm_api_client.prepare.files import as_upload
from llm_api_client.prepare.prompt import prompt_of, token_ids
from llm_api_client.records import ModelFacts

BY_NAME = {operation.name: operation for operation in OPERATIONS}
MODEL = "a-model"
FACTS = ModelFacts(
    MODEL, "openai", known=True, supported_params=frozenset({"max_tokens", "n"}), max_input_tokens=30,
    max_output_tokens=20, shared_window=False,
)  # fmt: skip


@pytest.fixture
def make(make_door, logger):
    def make(facts=FACTS, **options):
        return Preparer(make_door({MODEL: facts}), logger=logger, **{"environ": {}} | options)

    return make


def prepared(preparer, name, **params):
    request = {"model": MODEL, **params}
    before = deepcopy(request) if "file" not in request else dict(request)
    done = preparer.asking_for(BY_NAME[name]).prepare(request, sanitize=True)
    assert request == before
    return done


# The door counts one token for every four characters begun, and five beside them.
@pytest.mark.parametrize(
    ("name", "params", "tokens"),
    [
        ("completion", {"prompt": "x" * 40}, 15),
        ("completion", {"prompt": ["x" * 20, "x" * 19]}, 15),
        ("completion", {"prompt": [1, 2, 3]}, 3),
        ("completion", {"prompt": [[1, 2], [3]]}, 3),
        ("embeddings", {"input": "x" * 40}, 15),
        ("embeddings", {"input": ["x" * 20, "x" * 19]}, 15),
        ("embeddings", {"input": [list(range(50)), [1]]}, 51),
        ("responses", {"input": "x" * 20, "instructions": "x" * 19}, 15),
        ("responses", {"input": [{"role": "user", "content": "x" * 40}]}, 15),
        ("moderation", {"input": [{"type": "text", "text": "x" * 40}]}, 15),
        ("image", {"prompt": "x" * 40}, 15),
        ("speech", {"input": "x" * 40, "voice": "v"}, 15),
        ("transcription", {"file": b"RIFF"}, 0),
        ("rerank", {"query": "x" * 19, "documents": ["x" * 9, {"text": "x" * 10}]}, 15),
    ],
)
def test_tokens_are_counted(make, name, params, tokens):
    """Texts, lists of them, token ids, parts and documents count; a sound counts nothing."""
    assert prepared(make(on_context_overflow="ignore"), name, **params).prompt_tokens == tokens


@pytest.mark.parametrize("name", ["embeddings", "moderation", "image", "speech", "transcription", "rerank"])
def test_what_generates_nothing_has_no_answer(make, name):
    """Where no tokens are generated none are reserved, whatever the request says."""
    needs = {need: b"RIFF" if need == "file" else "text" for need in BY_NAME[name].needs}
    done = prepared(make(), name, **needs, max_tokens=5, n=3)
    assert (done.max_answer_tokens, done.longest_answer) == (0, 0)


def test_what_generates_is_bounded_as_a_chat_is(make):
    """A completion's `max_tokens` and a response's `max_output_tokens` bound their answers; else the model does."""
    done = prepared(make(), "completion", prompt="text", max_tokens=5, n=3)
    assert (done.max_answer_tokens, done.longest_answer) == (15, 15)
    assert prepared(make(), "responses", input="text", max_output_tokens=7).max_answer_tokens == 7
    done = prepared(make(), "completion", prompt="text")
    assert (done.max_answer_tokens, done.longest_answer) == (None, 20)


LONG = "".join(f"{number:04d}" for number in range(100))


def test_a_text_to_embed_loses_its_end(make, caplog):
    """Each text is cut by itself, for the limit is each one's; those that fit are the caller's own objects."""
    short = "as it is"
    done = prepared(make(), "embeddings", input=[LONG, short, LONG])
    cut, same, again = done.params["input"]
    assert same is short
    assert cut == again
    assert LONG.startswith(cut)
    assert 24 <= len(cut) // 4 <= 25
    assert "was cut" in caplog.text


def test_a_prompt_to_go_on_from_loses_its_beginning(make):
    """A completion goes on from a prompt's end, which stays."""
    cut = prepared(make(), "completion", prompt=LONG).params["prompt"]
    assert LONG.endswith(cut)
    assert 24 <= len(cut) // 4 <= 25


@pytest.mark.parametrize("name", ["embeddings", "completion"])
def test_what_is_too_long_is_refused_or_sent(make, name):
    """`on_context_overflow` holds: "error" refuses, "ignore" sends; what is given in tokens is sent as it is."""
    [param] = BY_NAME[name].prompt
    with pytest.raises(ContextWindowExceededError, match="takes 30"):
        prepared(make(on_context_overflow="error"), name, **{param: ["short", LONG]})
    assert prepared(make(on_context_overflow="ignore"), name, **{param: LONG}).params[param] is LONG
    ids = list(range(100))
    assert prepared(make(on_context_overflow="error"), name, **{param: ids}).params[param] is ids


def test_other_texts_are_sent_as_they_are(make):
    """Nothing is cut of what is spoken, drawn, judged or ranked."""
    for name, params in {
        "speech": {"input": LONG, "voice": "v"},
        "image": {"prompt": LONG},
        "moderation": {"input": LONG},
        "rerank": {"query": LONG, "documents": [LONG]},
        "responses": {"input": LONG},
    }.items():
        done = prepared(make(), name, **params)
        assert {key: done.params[key] for key in params} == params


def test_a_request_s_own_endpoint_wins(make):
    """A request that says what it asks for is prepared for that, and does not send the word."""
    preparer = make().asking_for(BY_NAME["image"])
    done = preparer.prepare({"model": MODEL, "input": LONG, "endpoint": "/v1/embeddings"}, sanitize=True)
    assert done.operation.name == "embeddings"
    assert "endpoint" not in done.params
    assert len(done.params["input"]) < len(LONG)


def test_litellm_leaves_out_what_a_model_does_not_take(make):
    """Where LiteLLM does not say which parameters a model takes, it is told to leave out the others."""
    assert prepared(make(), "embeddings", input="x").params["drop_params"] is True
    assert prepared(make(), "embeddings", input="x", drop_params=False).params["drop_params"] is False
    assert "drop_params" not in prepared(make(), "completion", prompt="x").params


@pytest.mark.parametrize(
    ("name", "params", "said"),
    [
        ("completion", {}, 'no "prompt"'),
        ("embeddings", {"input": []}, '"input" is empty'),
        ("speech", {"input": "x"}, 'no "voice"'),
        ("rerank", {"query": "x", "documents": []}, '"documents" is empty'),
        ("transcription", {"file": b""}, '"file" is empty'),
        ("embeddings", {"input": "\ud800"}, "half a character"),
        ("embeddings", {"input": "x", "fallbacks": ["other"]}, "no limit has admitted"),
    ],
)
def test_what_an_endpoint_needs_is_asked_for(make, name, params, said):
    """A request that lacks what its endpoint needs is refused by name, before anything is sent."""
    with pytest.raises(InvalidInputError, match=said):
        make().asking_for(BY_NAME[name]).check({"model": MODEL, **params})


def test_files_are_read_once(tmp_path):
    """A path, an open file, bytes and a pair come to a name and the content, whatever of them is given."""
    path = tmp_path / "talk.mp3"
    path.write_bytes(b"ID3 sound")
    with path.open("rb") as opened:
        assert as_upload(path) == as_upload(str(path)) == as_upload(opened) == ("talk.mp3", b"ID3 sound")
    assert as_upload(("other.mp3", path)) == ("other.mp3", b"ID3 sound")
    assert as_upload(("other.mp3", b"x", "audio/mpeg")) == ("other.mp3", b"x")
    assert as_upload(bytearray(b"RIFF")) == ("sound.wav", b"RIFF")


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (b"RIFF....WAVE", "wav"), (b"ID3.", "mp3"), (b"\xff\xfb.", "mp3"), (b"fLaC", "flac"), (b"OggS", "ogg"),
        (b"\x1aE\xdf\xa3", "webm"), (b"\0\0\0\x20ftypM4A ", "m4a"), (b"?", "wav"),
    ],
)  # fmt: skip
def test_bytes_are_named_by_their_beginning(content, ending):
    """Providers tell a format by the name's end, so that bytes without a name are given one."""
    assert as_upload(content)[0] == as_upload(io.BytesIO(content))[0] == f"sound.{ending}"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/not/there.wav", "cannot be read"),
        (7, "of type int"),
        (io.StringIO("x"), "opened for text"),
        (None, "NoneType"),
    ],
)
def test_what_is_no_file_is_refused(file, said):
    """The error says what was given, and what to give."""
    with pytest.raises(InvalidInputError, match=said):
        as_upload(file)


def test_a_prompt_without_texts_is_nothing():
    """What has no texts has no messages; what has token ids has their number."""
    assert prompt_of({"input": [1, 2]}, BY_NAME["embeddings"]) == []
    assert prompt_of({"messages": "x"}) == []
    assert token_ids({"input": [True, [1]]}, BY_NAME["embeddings"]) == 1
