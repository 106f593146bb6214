"""Forms with files in them (`multipart/form-data`), from bytes. Pure. A file's content stays as it is."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

_PARAMETER = re.compile(r';\s*([\w*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))')


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in a form."""

    filename: str
    content_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Form:
    """What a form says.

    Attributes:
        fields: Texts by name; of a name that comes twice the last, of ``name[]`` all, in a list.
        files: Files by name.
    """

    fields: dict[str, Any]
    files: dict[str, Upload]

    def described(self) -> dict[str, Any]:
        """The fields, and of each file what it is in place of its content."""
        about = {
            name: {"filename": file.filename, "content_type": file.content_type, "bytes": len(file.content)}
            for name, file in self.files.items()
        }
        return {**self.fields, **about}


def is_form(content_type: str) -> bool:
    """Whether a body of this media type is a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def parse_form(content_type: str, body: bytes) -> Form | None:
    """Read a form, or None where it is none."""
    boundary = _parameters(content_type).get("boundary", "")
    if not boundary:
        return None
    # Every delimiter but the first has a line end before it, which belongs to it and not to the content.
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    position = 0 if body.startswith(delimiter[2:]) else body.find(delimiter)
    if position < 0:
        return None
    position += len(delimiter) - (2 if position == 0 else 0)
    form = Form({}, {})
    while not body.startswith(b"--", position):
        head, end = body.find(b"\r\n\r\n", position), body.find(delimiter, position)
        if not 0 <= head < end or not _add_part(form, body[position:head], body[head + 4 : end]):
            return None
        position = end + len(delimiter)
    return form


def _add_part(form: Form, head: bytes, content: bytes) -> bool:
    headers = {}
    for line in head.decode("utf-8", "replace").split("\r\n"):
        header, _, value = line.partition(":")
        headers[header.strip().lower()] = value.strip()
    parameters = _parameters(headers.get("content-disposition", ""))
    name = parameters.get("name")
    if name is None:
        return False
    if (filename := parameters.get("filename", parameters.get("filename*"))) is not None:
        kind = headers.get("content-type", "application/octet-stream")
        form.files[name] = Upload(filename, kind, content)
    elif name.endswith("[]"):
        form.fields.setdefault(name.removesuffix("[]"), []).append(content.decode("utf-8", "replace"))
    else:
        form.fields[name] = content.decode("utf-8", "replace")
    return True


def _parameters(header: str) -> dict[str, str]:
    return {
        name.lower(): re.sub(r"\\(.)", r"\1", quoted) if quoted else unquote(bare.rpartition("''")[2])
        for name, quoted, bare in _PARAMETER.findall(header)
    }
