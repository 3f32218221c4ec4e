"""Retrieve per subquestion: the passages a plain retriever finds, and the same one asked hop by hop, four of each.

Without a name the embedded 135M model reads: that needs no key, and shows the plumbing, not the quality.
Usage: python examples/rag_per_subquestion.py [PROVIDER:MODEL]
"""

import json
import re
import sys
from pathlib import Path

from langchain_community.retrievers import BM25Retriever
from langchain_core.documents import Document

from langchain_divconq import ChatGGUF, DecomposedRetriever


def words(text: str) -> list[str]:
    return re.findall(r"\w{4,}", text.lower())  # shorter words are mostly "the", "was", "who"


library = Path(__file__).parent / "library"
documents = [Document(path.read_text(), metadata={"name": path.stem}) for path in sorted(library.glob("*.txt"))]
plain = BM25Retriever.from_documents(documents, preprocess_func=words, k=4)
reader = sys.argv[1] if len(sys.argv) > 1 else ChatGGUF(max_tokens=16)
retriever = DecomposedRetriever(retriever=plain, reader=reader, k=4)

for asked in json.loads((library / "questions.json").read_text())[:2]:
    print(f"{asked['question']}  (needs {', '.join(asked['passages'])})")
    print("  plain:", ", ".join(document.metadata["name"] for document in plain.invoke(asked["question"])))
    for document in retriever.invoke(asked["question"]):
        print(f"  ours: {document.metadata['name']:14} by {document.metadata['divconq']['subquestion']}")
