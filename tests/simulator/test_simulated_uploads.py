"""Forms: what is uploaded comes out as it went in."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_api_client.simulator.uploads import Form, Upload, is_form, parse_form

KIND = 'multipart/form-data; boundary="a b"'


def encoded(content: bytes, filename: str) -> tuple[str, bytes]:
    request = httpx.Request(
        "POST", "http://x", data={"purpose": "batch"}, files={"file": (filename, content, "text/plain")}
    )
    return request.headers["content-type"], request.read()


@given(st.binary(max_size=300) | st.sampled_from([b"\r\n--", b"\r\n", b"--", b"\r\n\r\n", b"\n"]))
def test_a_file_comes_out_byte_for_byte(content):
    """Whatever a file holds, line ends and dashes too, is what was sent."""
    kind, body = encoded(content, "a.jsonl")
    assert is_form(kind)
    form = parse_form(kind, body)
    assert form == Form({"purpose": "batch"}, {"file": Upload("a.jsonl", "text/plain", content)})
    assert form.described()["file"] == {"filename": "a.jsonl", "content_type": "text/plain", "bytes": len(content)}


def test_names_are_read_as_they_are_written():
    """A name may hold spaces, quotes and semicolons; a name with brackets is a list; what stands before is nothing."""
    body = (
        b'preamble\r\n--a b\r\ncontent-disposition: form-data; name="x[]"\r\n\r\n1\r\n'
        b'--a b\r\nContent-Disposition: form-data; name="x[]"\r\n\r\n2\r\n'
        b'--a b\r\nContent-Disposition: form-data; name="file"; filename="a \\"b\\"; c.wav"\r\n\r\n\r\n--a b--\r\n'
    )
    form = parse_form(KIND, body)
    assert form is not None
    assert form.fields == {"x": ["1", "2"]}
    assert form.files["file"] == Upload('a "b"; c.wav', "application/octet-stream", b"")
    encoded_name = (
        b"--a b\r\ncontent-disposition: form-data; name=file; filename*=utf-8''caf%C3%A9.wav\r\n\r\nx\r\n--a b--"
    )
    assert parse_form(KIND, encoded_name) == Form({}, {"file": Upload("café.wav", "application/octet-stream", b"x")})


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"--a b--\r\n"),
        (KIND, b""),
        (KIND, b"{}"),
        (KIND, b"--a b"),
        (KIND, b'--a b\r\ncontent-disposition: form-data; name="x"\r\n\r\nnever ended'),
        (KIND, b"--a b\r\ncontent-disposition: form-data\r\n\r\nnameless\r\n--a b--\r\n"),
        (KIND, b"--a b\r\nno end of its head\r\n--a b--\r\n"),
    ],
)
def test_what_is_no_form_is_none(kind, body):
    """Bytes that are no whole form are not read as half of one."""
    assert parse_form(kind, body) is None


def test_an_empty_form_is_one():
    """A form may say nothing."""
    assert parse_form(KIND, b"--a b--\r\n") == Form({}, {})
    assert not is_form("application/json")
