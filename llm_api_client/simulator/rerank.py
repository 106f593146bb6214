"""Documents in the order of their relevance to a query, in Cohere's shape. Pure."""

import re
from typing import Any

from .protocol import Answer, ProviderError, Question, count_tokens, required, whole

DOCUMENTS_PER_UNIT = 100


def rerank(question: Question) -> Answer:
    """Score documents by the words that they share with the query; equal scores keep their order.

    Raises:
        ProviderError: the query or the documents are none.
    """
    request = question.request
    query, documents = required(request, "query"), required(request, "documents")
    if not isinstance(query, str):
        raise ProviderError(400, "'query' has to be a text.", param="query")
    if not isinstance(documents, list):
        raise ProviderError(400, "'documents' has to be a list.", param="documents")
    texts = [_text_of(document, index) for index, document in enumerate(documents)]
    top = whole(request, "top_n") or len(texts)
    words = _words(query)
    scored = sorted(((_score(words, _words(text)), -index) for index, text in enumerate(texts)), reverse=True)[:top]
    results: list[dict[str, Any]] = [{"index": -place, "relevance_score": score} for score, place in scored]
    if request.get("return_documents"):
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    tokens = count_tokens(query) + sum(map(count_tokens, texts))
    body = {
        "id": f"rerank-sim-{question.number}",
        "model": request["model"],
        "results": results,
        "meta": {
            "api_version": {"version": "2"},
            "billed_units": {"search_units": -(-len(texts) // DOCUMENTS_PER_UNIT)},
        },
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Answer(body, tokens, tokens)


def _text_of(document: object, index: int) -> str:
    text = document.get("text") if isinstance(document, dict) else document
    if not isinstance(text, str):
        message = "A document is a text, or an object with its text under 'text'."
        raise ProviderError(400, message, param=f"documents[{index}]")
    return text


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))


def _score(query: frozenset[str], document: frozenset[str]) -> float:
    return round(len(query & document) / (len(query | document) or 1), 6)
