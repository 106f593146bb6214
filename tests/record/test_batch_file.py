import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.errors import (
    APICallException,
    AuthenticationError,
    InvalidInputError,
    InvalidRequestError,
    NetworkError,
    ServerError,
)
from llm_api_client.record.batch_file import (
    URLS,
    Entry,
    Fault,
    failure_line,
    fault_line,
    parse_line,
    parse_lines,
    repeated_ids,
    request_line,
    result_line,
)
from llm_api_client.records import Result
from llm_api_client.testing import ScriptedAnswer

REQUEST = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello"}]}
ENTRY = Entry(3, "mine", REQUEST)
RESULT = Result(0, REQUEST, response=ScriptedAnswer("Hi"), attempts=1)

texts = st.text(st.characters(exclude_categories=()))  # lone surrogates too
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


class Answer:
    """An answer whose dump is whatever a test wants."""

    def __init__(self, dumped: Any, headers: Any = None) -> None:
        self._dumped = dumped
        self._hidden_params = {"additional_headers": headers}
        self.options: list[dict[str, Any]] = []

    def model_dump(self, **options: Any) -> Any:
        """What was given."""
        self.options.append(options)
        if isinstance(self._dumped, Exception):
            raise self._dumped
        return self._dumped


def answered(response: Any) -> dict[str, Any]:
    text = result_line(ENTRY, replace(RESULT, response=response))
    assert len(text.splitlines()) == 1
    text.encode()
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def failed(error: APICallException, attempts: int = 1) -> dict[str, Any]:
    result = replace(RESULT, response=None, error=error, attempts=attempts)
    parsed: dict[str, Any] = json.loads(result_line(ENTRY, result))
    return parsed


class TestReading:
    def test_plain_and_openai_lines_mix(self):
        """A plain request and a line of OpenAI's Batch API give the same request, whatever the order."""
        lines = [
            json.dumps(REQUEST),
            json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": REQUEST}),
            json.dumps({"custom_id": "b", **REQUEST}),
            json.dumps({"body": REQUEST}),
        ]
        items = list(parse_lines(lines))
        assert items == [
            Entry(1, "request-1", REQUEST),
            Entry(2, "a", REQUEST),
            Entry(3, "b", REQUEST),
            Entry(4, "request-4", REQUEST),
        ]

    def test_blank_lines_count_and_are_left_out(self):
        """Line numbers are those of the file: blank lines are counted, and give nothing."""
        items = list(parse_lines(["", json.dumps(REQUEST), " \t\r", json.dumps(REQUEST)]))
        assert [item.line for item in items] == [2, 4]

    def test_bom_and_line_ends_are_no_fault(self):
        """A byte order mark and a carriage return are not part of a line."""
        assert parse_line("\ufeff" + json.dumps(REQUEST) + "\r", 1) == Entry(1, "request-1", REQUEST)

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("{", "not JSON"),
            ("nonsense", "not JSON"),
            ("[1]", "an array"),
            ("3", "a number"),
            ('"text"', "a string"),
            ("null", "null"),
            ("true", "a boolean"),
            ('{"temperature": NaN}', "NaN is not JSON"),
            ('{"temperature": -Infinity}', "-Infinity is not JSON"),
            ('{"temperature": 1e999}', "too large"),
            ("[" * 100_000, "nested too deeply"),
            ('{"custom_id": 5, "model": "m"}', "custom_id is a number"),
            ('{"url": "/v1/assistants", "body": {}}', "/v1/embeddings"),
            ('{"url": 7, "body": {}}', "url"),
            ('{"method": "GET", "body": {}}', "method"),
            ('{"method": null, "body": {}}', "method"),
            ('{"url": "/v1/chat/completions"}', '"body" is missing'),
            ('{"body": []}', '"body" is an array'),
            ('{"body": {}, "model": "m"}', "beside"),
        ],
    )
    def test_what_is_no_request_is_a_fault_with_its_reason(self, text, reason):
        """A line that is no request becomes a fault that says why and knows its line."""
        item = parse_line(text, 8)
        assert isinstance(item, Fault)
        assert item.line == 8
        assert reason in item.message

    def test_unsupported_endpoints_are_all_named(self):
        """Whoever asks for another endpoint is told which one there is, and which there are not yet."""
        item = parse_line('{"url": "/v1/assistants", "body": {}}', 1)
        assert isinstance(item, Fault)
        assert all(url in item.message for url in URLS)

    def test_a_fault_keeps_its_custom_id(self):
        """A faulty line that has a readable custom_id keeps it."""
        assert parse_line('{"custom_id": "x", "body": 1}', 2).custom_id == "x"
        assert parse_line('{"custom_id": 9, "body": 1}', 2).custom_id == "request-2"

    def test_faults_quote_no_content(self):
        """What a faulty line holds is not repeated: it may be a prompt or a key."""
        for text in ('{"secret sk-123', '"secret sk-123"', '{"url": "secret sk-123"}', '{"body": "secret sk-123"}'):
            item = parse_line(text, 1)
            assert isinstance(item, Fault)
            assert "secret" not in item.message

    def test_repeated_ids_name_both_lines(self):
        """Every repetition of a custom_id is found, with the line that has it first."""
        items = [Entry(1, "a", {}), Entry(2, "b", {}), Fault(4, "a", ""), Entry(5, "a", {})]
        assert list(repeated_ids(items)) == [(4, 1), (5, 1)]

    @given(st.integers(1, 10**9), texts, st.dictionaries(texts, plain, max_size=5))
    def test_a_written_request_is_read_back(self, line, custom_id, request):
        """What `request_line` writes, `parse_line` reads back unchanged, from a single line of UTF-8."""
        entry = Entry(line, custom_id, request)
        text = request_line(entry)
        text.encode()
        assert len(text.splitlines()) == 1
        assert parse_line(text, line) == entry

    @given(st.text() | plain.map(json.dumps))
    def test_no_text_breaks_the_reader(self, text):
        """Any text whatever is an entry or a fault, never an exception."""
        assert isinstance(parse_line(text, 1), (Entry, Fault))

    @pytest.mark.parametrize("value", [float("nan"), object()])
    def test_a_request_that_is_not_plain_data_is_refused(self, value):
        """A request that JSON cannot carry is refused rather than changed."""
        with pytest.raises(ValueError, match=r".+"):
            request_line(Entry(1, "a", {"x": value}))


class TestWriting:
    def test_an_answer(self):
        """An answer stands in `response` with status 200, its body, and the provider's request id."""
        line = answered(Answer({"id": "c"}, {"llm_provider-x-request-id": "req-1"}))
        assert line == {
            "id": "batch_req_3",
            "custom_id": "mine",
            "response": {"status_code": 200, "request_id": "req-1", "body": {"id": "c"}},
            "error": None,
        }

    def test_an_answer_without_headers(self):
        """A request id that is not known is null."""
        assert answered(ScriptedAnswer("Hi"))["response"]["request_id"] is None

    def test_an_http_error_stands_in_both_places(self):
        """A provider's refusal is its own answer in `response`, and its reason in `error`."""
        body = {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": "bad"}}
        error = InvalidRequestError(
            "400: No. Change it.", status_code=400, request_id="req-2", response_body=json.dumps(body)
        )
        line = failed(error)
        assert line["response"] == {"status_code": 400, "request_id": "req-2", "body": body}
        assert line["error"] == {"code": "InvalidRequestError", "message": "400: No. Change it."}

    @pytest.mark.parametrize("body", [None, "<html>", '{"error": {"mess', "[]", '{"error": "x"}'])
    def test_an_unreadable_http_error_is_put_in_words(self, body):
        """Where the provider's error is not in OpenAI's shape, the body has that shape all the same."""
        line = failed(ServerError("502 from there.", status_code=502, response_body=body))
        expected = {"message": "502 from there.", "type": "ServerError", "param": None, "code": None}
        assert line["response"]["body"] == {"error": expected}

    def test_no_http_error_no_response(self):
        """Without an HTTP error of its own, a request has no `response`."""
        refusal = AuthenticationError("Refused.", status_code=401)
        spared = AuthenticationError("Not sent.", status_code=401)
        spared.__cause__ = refusal
        assert failed(NetworkError("No."))["response"] is None
        assert failed(ServerError("Garbled.", status_code=200))["response"] is None
        assert failed(refusal, attempts=0)["response"] is None
        assert failed(spared)["response"] is None
        assert failed(refusal)["response"]["status_code"] == 401

    def test_faults_and_failures(self):
        """What was never sent has an error, its line in the message, and no response."""
        line = json.loads(fault_line(Fault(7, "x", "not JSON")))
        assert line["custom_id"] == "x"
        assert line["response"] is None
        assert line["error"] == {"code": "InvalidInputError", "message": "line 7: not JSON"}
        assert json.loads(failure_line(ENTRY, InvalidInputError("No.")))["error"]["message"] == "No."

    @given(plain)
    def test_plain_answers_are_kept_as_they_are(self, body):
        """A body of plain data is read back unchanged, half characters and odd line ends too."""
        assert answered(Answer(body))["response"]["body"] == body

    def test_an_answer_is_dumped_without_warnings(self):
        """Pydantic's warnings are switched off: they quote the answer on the terminal."""
        response = Answer({"id": "c"})
        answered(response)
        assert response.options == [{"warnings": False}]

    def test_nothing_in_an_answer_prevents_its_line(self):
        """What JSON does not have is written in a poorer form rather than not at all."""
        circle: list[Any] = []
        circle.append(circle)
        deep: list[Any] = []
        for _ in range(5_000):
            deep = [deep]
        odd = {"nan": float("nan"), "set": {1}, ("a", "b"): b"x", "circle": circle, "deep": deep, "text": "kept"}
        body = answered(Answer(odd))["response"]["body"]
        assert body["nan"] is None
        assert body["text"] == "kept"
        assert set(body) == {"nan", "set", "('a', 'b')", "circle", "deep", "text"}

    @pytest.mark.parametrize("error", [TypeError("dump"), RuntimeError("dump")])
    def test_an_answer_that_cannot_be_dumped_keeps_its_text(self, error):
        """An answer whose dump fails is written with its text."""
        response = Answer(error)
        response.choices = ScriptedAnswer("kept").choices
        body = answered(response)["response"]["body"]
        assert body["choices"][0]["message"]["content"] == "kept"
