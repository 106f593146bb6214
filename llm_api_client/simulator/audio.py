"""Speech to text and text to speech: the same for the same bytes, and never listened to. Pure."""

import io
import wave
from collections.abc import Callable
from hashlib import sha256, shake_256
from typing import Any

from .protocol import Answer, Json, ProviderError, Question, count_tokens, required
from .uploads import Upload

MAX_AUDIO = 25 * 1024 * 1024
MAX_SPOKEN = 4096
BYTES_PER_SECOND = 16_000
"""Of audio whose length is not read; a common rate of compressed speech."""
EXTENSIONS = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
NOUNS = {"transcribe": "transcript", "translate": "translation"}
FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
SPOKEN = {
    "mp3": ("audio/mpeg", b"ID3\x04"),
    "opus": ("audio/opus", b"OggS"),
    "aac": ("audio/aac", b"\xff\xf1"),
    "flac": ("audio/flac", b"fLaC"),
    "wav": ("audio/wav", b""),
    "pcm": ("audio/pcm", b""),
}
"""Formats of speech: the media type, and how a file begins."""

_WORDS = (
    "the",
    "kettle",
    "sings",
    "while",
    "seven",
    "small",
    "boats",
    "drift",
    "past",
    "an",
    "old",
    "quiet",
    "harbour",
)
_WORDS_SAID = 8
_SAMPLES, _RATE = 1600, 8000


def transcribe(question: Question, text_of: Callable[[Json, str | None], str], task: str = "transcribe") -> Answer:
    """What a recording says; with the task "translate", in English.

    The text comes from the recording's name and bytes, unless the provider has an answer. The audio itself has no
    tokens; the prompt and the text have, for models that count them.

    Raises:
        ProviderError: there is no recording, or the form asks for what cannot be.
    """
    request, file = question.request, question.files.get("file")
    if file is None:
        raise ProviderError(400, "Missing required parameter: 'file'.", param="file")
    _check_recording(file)
    shape = request.get("response_format") or "json"
    counts_tokens = str(request["model"]).startswith("gpt-")
    allowed = FORMATS[:2] if counts_tokens else FORMATS
    if shape not in allowed:
        message = f"response_format {shape!r} is not one of {list(allowed)} for model {request['model']!r}."
        raise ProviderError(400, message, param="response_format", code="unsupported_value")
    text = text_of(request, f"Simulated {NOUNS[task]} of {file.filename}: {_said_in(file.content)}")
    seconds = _seconds(file.content)
    prompt, output = count_tokens(str(request.get("prompt") or "")), count_tokens(text)
    tokens = prompt + output if counts_tokens else 0
    if shape == "text":
        return _plain(text + "\n", tokens)
    if shape in {"srt", "vtt"}:
        return _plain(_subtitles(text, seconds, shape), tokens)
    usage: Json = {"type": "duration", "seconds": -int(-seconds // 1)}
    if counts_tokens:
        details = {"text_tokens": prompt, "audio_tokens": 0}
        usage = {"type": "tokens", "input_tokens": prompt, "input_token_details": details}
        usage |= {"output_tokens": output, "total_tokens": prompt + output}
    body = {"text": text, "usage": usage}
    if shape == "verbose_json":
        body = _verbose(request, text, seconds, task) | body
    return Answer(body, tokens, tokens)


def speak(question: Question) -> Answer:
    """A text as audio: noise, but the same for the same request.

    Raises:
        ProviderError: something is missing, or cannot be.
    """
    request = question.request
    text, voice = required(request, "input"), request.get("voice")
    if not isinstance(text, str) or len(text) > MAX_SPOKEN:
        raise ProviderError(400, f"'input' has to be a text of at most {MAX_SPOKEN} characters.", param="input")
    if not isinstance(voice, str | dict) or not voice:
        raise ProviderError(400, "Missing required parameter: 'voice'.", param="voice")
    shape = request.get("response_format") or "mp3"
    if shape not in tuple(SPOKEN):
        message = f"{shape!r} is not one of {list(SPOKEN)} - 'response_format'"
        raise ProviderError(400, message, param="response_format")
    kind, magic = SPOKEN[shape]
    noise = shake_256(f"{request['model']} {voice} {text}".encode("utf-8", "replace")).digest(_SAMPLES)
    tokens = count_tokens(text)
    return Answer(_wav(noise) if shape == "wav" else magic + noise, tokens, tokens, kind)


def _check_recording(file: Upload) -> None:
    if len(file.content) > MAX_AUDIO:
        raise ProviderError(413, f"Maximum content size limit ({MAX_AUDIO}) exceeded ({len(file.content)} bytes read)")
    if file.filename.rpartition(".")[2].lower() not in EXTENSIONS:
        raise ProviderError(400, f"Unrecognized file format. Supported formats: {list(EXTENSIONS)}", param="file")
    if not file.content:
        raise ProviderError(400, "The audio file is empty.", param="file")


def _said_in(content: bytes) -> str:
    return " ".join(_WORDS[byte % len(_WORDS)] for byte in sha256(content).digest()[:_WORDS_SAID])


def _seconds(content: bytes) -> float:
    try:
        with wave.open(io.BytesIO(content)) as recording:
            return float(recording.getnframes() / recording.getframerate())
    except (wave.Error, EOFError, ArithmeticError):
        return len(content) / BYTES_PER_SECOND


def _wav(samples: bytes) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(1)
        recording.setframerate(_RATE)
        recording.writeframes(samples)
    return out.getvalue()


def _plain(text: str, tokens: int) -> Answer:
    return Answer(text.encode("utf-8", "replace"), tokens, tokens, "text/plain; charset=utf-8")


def _subtitles(text: str, seconds: float, shape: str) -> str:
    def moment(at: float) -> str:
        minutes, milliseconds = divmod(round(at * 1000), 60_000)
        point = "," if shape == "srt" else "."
        return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"

    head = "1\n" if shape == "srt" else "WEBVTT\n\n"
    return f"{head}{moment(0)} --> {moment(seconds)}\n{text}\n\n"


def _verbose(request: Json, text: str, seconds: float, task: str) -> Json:
    asked: Any = request.get("timestamp_granularities") or ["segment"]
    body: Json = {"task": task, "language": "english", "duration": seconds}
    if task == "transcribe":
        body["language"] = request.get("language") or "english"
    if "segment" in asked:
        segment = {"id": 0, "seek": 0, "start": 0.0, "end": seconds, "text": text, "tokens": []}
        odds = {"temperature": 0.0, "avg_logprob": -0.1, "compression_ratio": 1.0, "no_speech_prob": 0.0}
        body["segments"] = [segment | odds]
    if "word" in asked:
        words = text.split()
        length = seconds / (len(words) or 1)
        body["words"] = [
            {"word": word, "start": round(index * length, 3), "end": round((index + 1) * length, 3)}
            for index, word in enumerate(words)
        ]
    return body
