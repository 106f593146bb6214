"""OpenAI's Responses: an answer as a list of things that were put out, whole or as events. Pure."""

import json
from collections.abc import Iterator

from .protocol import TOKENS_PER_MESSAGE, Answer, Json, ProviderError, Question, Text, count_tokens, required, tokens_of

_DELTA = 16  # characters


def respond(question: Question, text: Text) -> Answer:
    """A response with one message.

    Raises:
        ProviderError: the input is none.
    """
    request = question.request
    given = required(request, "input")
    items = given if isinstance(given, list) else [{"role": "user", "content": given}]
    for index, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get("role", item.get("type")), str):
            raise ProviderError(400, "An item of the input needs a role or a type.", param=f"input[{index}]")
    prompt = sum(TOKENS_PER_MESSAGE + tokens_of(item.get("content", item.get("output"))) for item in items)
    if isinstance(request.get("instructions"), str):
        prompt += TOKENS_PER_MESSAGE + count_tokens(request["instructions"])
    if tools := request.get("tools"):
        prompt += count_tokens(json.dumps(tools))
    cut = text.finish == "length"
    content = {"type": "output_text", "text": text.text, "annotations": [], "logprobs": []}
    message = {
        "id": f"msg_sim{question.number}",
        "type": "message",
        "status": "incomplete" if cut else "completed",
        "role": "assistant",
        "content": [content],
    }
    body = {
        "id": f"resp_sim{question.number}",
        "object": "response",
        "created_at": question.created,
        "status": message["status"],
        "background": False,
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
        "instructions": request.get("instructions"),
        "max_output_tokens": request.get("max_output_tokens"),
        "model": request["model"],
        "output": [message],
        "parallel_tool_calls": request.get("parallel_tool_calls", True),
        "previous_response_id": request.get("previous_response_id"),
        "reasoning": request.get("reasoning") or {"effort": None, "summary": None},
        "store": request.get("store", True),
        "temperature": request.get("temperature", 1.0),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools") or [],
        "top_p": request.get("top_p", 1.0),
        "truncation": request.get("truncation", "disabled"),
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": text.tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + text.tokens,
        },
        "user": request.get("user"),
        "metadata": request.get("metadata") or {},
    }
    return Answer(body, prompt + text.tokens, prompt + text.limit)


def events(body: Json) -> Iterator[bytes]:
    """A response as the events of a stream: its beginning, a few words each, and the whole."""
    begun = {**body, "status": "in_progress", "incomplete_details": None, "output": []}
    begun.pop("usage", None)
    parts: list[tuple[str, Json]] = [("response.created", {"response": begun})]
    parts.append(("response.in_progress", {"response": begun}))
    for index, item in enumerate(body["output"]):
        place = {"item_id": item["id"], "output_index": index}
        opened = {**item, "status": "in_progress", "content": []}
        parts.append(("response.output_item.added", {"output_index": index, "item": opened}))
        for number, content in enumerate(item["content"]):
            here, text = {**place, "content_index": number}, content["text"]
            parts.append(("response.content_part.added", {**here, "part": {**content, "text": ""}}))
            parts += [
                ("response.output_text.delta", {**here, "delta": text[start : start + _DELTA], "logprobs": []})
                for start in range(0, len(text), _DELTA)
            ]
            parts.append(("response.output_text.done", {**here, "text": text, "logprobs": []}))
            parts.append(("response.content_part.done", {**here, "part": content}))
        parts.append(("response.output_item.done", {"output_index": index, "item": item}))
    parts.append((f"response.{body['status']}", {"response": body}))
    for sequence, (kind, more) in enumerate(parts):
        data = {"type": kind, "sequence_number": sequence, **more}
        yield f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()
