"""Retrieval over several hops, with any retriever: a subquestion is searched for once what it needs has been read."""

from langchain_divconq.retrieval.bm25 import BM25 as BM25
from langchain_divconq.retrieval.fusing import Fuse as Fuse
from langchain_divconq.retrieval.fusing import Search as Search
from langchain_divconq.retrieval.fusing import fused as fused
from langchain_divconq.retrieval.hops import Query as Query
from langchain_divconq.retrieval.reading import Reading as Reading
from langchain_divconq.retrieval.reading import parse_reading as parse_reading
from langchain_divconq.retrieval.retriever import DecomposedRetriever as DecomposedRetriever
from langchain_divconq.retrieval.tool import render_passages as render_passages
from langchain_divconq.retrieval.walk import HOP_EVENT as HOP_EVENT
