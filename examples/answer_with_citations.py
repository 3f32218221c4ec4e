"""Answer from passages found hop by hop, each statement with the number of its passage; streamed.

Without a name the embedded 135M model reads and answers: that needs no key, and shows the plumbing, not the quality.
Usage: python examples/answer_with_citations.py [PROVIDER:MODEL]
"""

import re
import sys
from operator import itemgetter
from pathlib import Path

from langchain.chat_models import init_chat_model
from langchain_community.retrievers import BM25Retriever
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_divconq import ChatGGUF, DecomposedRetriever
from langchain_divconq.retrieval import render_passages

model = init_chat_model(sys.argv[1]) if ":" in sys.argv[-1] else ChatGGUF(max_tokens=64)
texts = [path.read_text() for path in sorted((Path(__file__).parent / "library").glob("*.txt"))]
plain = BM25Retriever.from_texts(texts, preprocess_func=lambda text: re.findall(r"\w{4,}", text.lower()), k=4)
retriever = DecomposedRetriever(retriever=plain, reader=model, k=4)

prompt = ChatPromptTemplate.from_template(
    "{passages}\n\nQuestion: {question}\n\nAnswer in one or two sentences, from these passages alone. After each "
    "statement give the number of the passage that says it, as in [1]."
)
chain = (
    RunnablePassthrough.assign(documents=itemgetter("question") | retriever)
    .assign(passages=lambda found: render_passages(found["documents"]))
    .assign(answer=prompt | model | StrOutputParser())
)

if __name__ == "__main__":
    for piece in chain.stream({"question": "Which company owns the ferry that took the place of the Solveig?"}):
        print(piece.get("passages", ""), piece.get("answer", ""), sep="", end="", flush=True)
