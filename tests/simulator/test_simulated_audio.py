"""Recordings in and out: the same text for the same bytes, in every format, and sound for a text."""

import io
import wave

import pytest

from llm_api_client.simulator import audio


def recording(seconds=3) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16_000 * seconds))
    return out.getvalue()


def transcribe(client, content=None, name="a.wav", path="/audio/transcriptions", **form):
    data = {"model": "whisper-1", **form}
    return client.post(path, data=data, files={"file": (name, recording() if content is None else content)})


def test_a_recording_has_one_text(start):
    """The text belongs to the bytes and the name, whatever the format that it is given in."""
    _, client = start()
    body = transcribe(client).json()
    text = body["text"]
    assert text.startswith("Simulated transcript of a.wav: ")
    assert body["usage"] == {"type": "duration", "seconds": 3}
    assert transcribe(client).json() == body
    assert transcribe(client, recording(2)).json()["text"] != text
    assert transcribe(client, response_format="text").text == f"{text}\n"
    srt, vtt = (transcribe(client, response_format=shape).text for shape in ("srt", "vtt"))
    assert srt == f"1\n00:00:00,000 --> 00:00:03,000\n{text}\n\n"
    assert vtt == f"WEBVTT\n\n00:00:00.000 --> 00:00:03.000\n{text}\n\n"
    verbose = transcribe(client, response_format="verbose_json", language="german").json()
    assert (verbose["text"], verbose["duration"], verbose["language"]) == (text, 3.0, "german")
    assert verbose["task"] == "transcribe"
    assert [(segment["start"], segment["end"]) for segment in verbose["segments"]] == [(0.0, 3.0)]


def test_words_have_times(start):
    """With words asked for, they cover the recording, and join to the text."""
    _, client = start()
    form = {"response_format": "verbose_json", "timestamp_granularities[]": ["word"]}
    body = transcribe(client, **form).json()
    assert " ".join(word["word"] for word in body["words"]) == body["text"]
    assert (body["words"][0]["start"], body["words"][-1]["end"]) == (0.0, 3.0)
    assert "segments" not in body


def test_a_translation_is_in_english(start):
    """Whatever the language, a translation's is English."""
    _, client = start()
    form = {"path": "/audio/translations", "response_format": "verbose_json"}
    body = transcribe(client, **form, language="german").json()
    assert body["text"].startswith("Simulated translation of a.wav: ")
    assert (body["language"], body["task"]) == ("english", "translate")


def test_audio_has_no_tokens(start):
    """Models that count tokens count those of prompt and text, which the limits see; others count seconds."""
    provider, client = start(tokens_per_minute=100, answer="abcdefgh")
    usage = transcribe(client, model="gpt-4o-transcribe", prompt="1234").json()["usage"]
    assert usage == {
        "type": "tokens",
        "input_tokens": 1,
        "input_token_details": {"text_tokens": 1, "audio_tokens": 0},
        "output_tokens": 2,
        "total_tokens": 3,
    }
    assert provider.counts.worst_minute_tokens == 3
    transcribe(client)
    assert provider.counts.worst_minute_tokens == 3
    assert provider.counts.worst_minute == 2


def test_what_is_not_read_has_a_length_of_its_bytes(start):
    """A recording that is no WAV lasts as long as its bytes would at a common rate."""
    _, client = start()
    body = transcribe(client, bytes(24_000), "a.mp3", response_format="verbose_json").json()
    assert (body["duration"], body["usage"]["seconds"]) == (1.5, 2)


@pytest.mark.parametrize(
    ("form", "status", "message"),
    [
        ({"name": "a.txt"}, 400, "Unrecognized file format"),
        ({"content": b""}, 400, "empty"),
        ({"response_format": "html"}, 400, "'html' is not one of"),
        ({"response_format": "srt", "model": "gpt-4o-transcribe"}, 400, "'srt' is not one of"),
        ({"model": ""}, 400, "model"),
        ({"model": "missing-1"}, 404, "does not exist"),
    ],
)
def test_bad_recordings_are_refused(start, form, status, message):
    """What is wrong with a recording is said, and charges nothing."""
    provider, client = start()
    response = transcribe(client, **form)
    assert response.status_code == status
    assert message in response.json()["error"]["message"]
    assert provider.counts.worst_minute == 0


def test_a_recording_is_bounded_and_needed(start, monkeypatch):
    """Too large a recording is a 413, none at all a 400."""
    _, client = start()
    monkeypatch.setattr(audio, "MAX_AUDIO", 1000)
    assert transcribe(client).status_code == 413
    assert client.post("/audio/transcriptions", json={"model": "whisper-1"}).json()["error"]["param"] == "file"


def test_faults_and_limits_hold_for_recordings(start):
    """A prompt may ask for a fault, and a request too many is refused."""
    _, client = start(requests_per_minute=1)
    assert transcribe(client, prompt="[simulate: 418]").status_code == 418
    assert [transcribe(client).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("shape", audio.SPOKEN)
def test_a_text_becomes_sound(start, shape):
    """Each format has its media type and beginning, and one request one sound."""
    provider, client = start()
    request = {"model": "tts-1", "input": "12345678", "voice": "alloy", "response_format": shape}
    response = client.post("/audio/speech", json=request)
    assert response.headers["content-type"] == audio.SPOKEN[shape][0]
    assert response.content.startswith(audio.SPOKEN[shape][1])
    assert client.post("/audio/speech", json=request).content == response.content
    assert client.post("/audio/speech", json={**request, "voice": "other"}).content != response.content
    assert provider.counts.worst_minute_tokens == 6


def test_a_wav_can_be_played(start):
    """What claims to be a WAV is one."""
    _, client = start()
    request = {"model": "tts-1", "input": "Hello", "voice": {"id": "mine"}, "response_format": "wav"}
    with wave.open(io.BytesIO(client.post("/audio/speech", json=request).content)) as file:
        assert file.getnframes() / file.getframerate() == 0.2


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"voice": None}, "voice"),
        ({"response_format": "ogg"}, "response_format"),
        ({"response_format": {"type": "wav"}}, "response_format"),
    ],
)
def test_bad_speech_is_refused(start, wrong, param):
    """What is wrong with a request for speech is a 400 that names it."""
    _, client = start()
    response = client.post("/audio/speech", json={"model": "tts-1", "input": "a", "voice": "alloy", **wrong})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_speech_may_be_broken(start):
    """Faults strike sound as they strike text."""
    _, client = start()
    request = {"model": "tts-1", "input": "[simulate: html]", "voice": "alloy"}
    assert client.post("/audio/speech", json=request).text.startswith("<!DOCTYPE")
