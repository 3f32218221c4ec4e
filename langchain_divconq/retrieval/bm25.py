"""BM25 over a few thousand passages, in plain Python: a retriever for whoever has none at hand."""

import heapq
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, PrivateAttr

from langchain_divconq.errors import ConfigurationError

_WORD = re.compile(r"\w+")
_K1, _B = 1.5, 0.75


class BM25(BaseRetriever):
    """Ranks documents by the words they share with a query: Okapi's BM25, no weight below zero.

    Example:
        ```python
        retriever = BM25(documents=[Document("The Petrel lay at Skarholm.")], k=4)
        ```

    Raises:
        ConfigurationError: There are no documents.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    documents: Sequence[Document]
    """What is searched; a `title` in a document's metadata counts as its words."""

    k: int = 9
    """How many documents a search returns; fewer where fewer share a word."""

    _weights: dict[str, list[tuple[int, float]]] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Count the words."""
        super().model_post_init(context)
        if not self.documents:
            raise ConfigurationError("There are no documents to search. Pass at least one.")
        counts = [Counter(_words(document)) for document in self.documents]
        lengths = [sum(count.values()) for count in counts]
        average = sum(lengths) / len(lengths) or 1.0
        places: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for at, count in enumerate(counts):
            for word, times in count.items():
                places[word].append((at, times))
        for word, found in places.items():
            rarity = math.log(1 + (len(counts) - len(found) + 0.5) / (len(found) + 0.5))
            self._weights[word] = [
                (at, rarity * times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * lengths[at] / average)))
                for at, times in found
            ]

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        scores: defaultdict[int, float] = defaultdict(float)
        for word in _WORD.findall(query.lower()):
            for at, weight in self._weights.get(word, ()):
                scores[at] += weight
        best = heapq.nsmallest(self.k, scores.items(), key=lambda each: (-each[1], each[0]))
        return [self.documents[at] for at, _ in best]


def _words(document: Document) -> list[str]:
    return _WORD.findall(f"{document.metadata.get('title') or ''} {document.page_content}".lower())
