"""DecomposedRetriever: any retriever, asked hop by hop."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.documents.compressor import BaseDocumentCompressor
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import ensure_config, merge_configs, patch_config
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from langchain_core.tools import BaseTool
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from langchain_divconq.asking import DecomposerLike, OnTrouble, ask_decomposer
from langchain_divconq.calls import Announcement, Limiter, Stage, adrive, drive
from langchain_divconq.chain import DECOMPOSITION_EVENT
from langchain_divconq.decomposer import Decomposer, Gate, check_gate
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.retrieval.fusing import Fuse, Hit, fused, within
from langchain_divconq.retrieval.reading import ReaderLike, as_reader
from langchain_divconq.retrieval.tool import make_tool
from langchain_divconq.retrieval.walk import Walk
from langchain_divconq.types import METADATA_KEY, Decomposition, Question


def _check_k(value: int) -> int:
    if value < 1:
        raise ConfigurationError(f"k or read_k is {value}; it must be at least 1, a number of documents.")
    return value


class DecomposedRetriever(BaseRetriever):
    """Retrieves for each subquestion of a question, and for the question itself, with any retriever.

    A subquestion that refers to an earlier one (`#1`) is searched for with the earlier one's answer in that place, read
    in the documents found for the earlier one. Where none is read, the title of the best of those documents takes its
    place, or else the earlier subquestion's own words. What has no words, or was searched for, is not searched for.

    The documents of all searches share the budget `k`, the whole question's best always among them; a plan that finds
    no more than the whole question gives exactly the whole question's documents. They are copies, with what found them
    as `metadata["divconq"]`: `{"number": 2, "subquestion": "Who was mayor in 1931?", "answer": "Ada Holm"}`; number 0
    is the whole question, and an answer that was not read is None. Where a search or a reading failed twice, the others
    go on, and each document says so: `"partial": ["the search for 'Who …' failed: TimeoutError"]`.

    The plan, and each subquestion's search with its answer, are announced as they come, as the custom events
    `divconq_decomposition` (the Decomposition as JSON) and `divconq_hop` (number, subquestion, answer, documents).
    Plan, gate and confidence are metadata of the searches' runs: `divconq_plan`, `divconq_gate`, `divconq_confidence`.

    Independent subquestions are searched for at once; with `max_concurrency`, one after another, so that a batch has
    never more than that many calls in flight. Keyword arguments of a call, but for `k` and `gate`, reach every search.

    Example:
        ```python
        retriever = DecomposedRetriever(retriever=yours, reader="openai:gpt-5-mini", k=6)
        for document in retriever.invoke("Which company owns the ferry that replaced the Solveig?"):
            print(document.metadata["divconq"]["subquestion"], document.page_content)
        ```

    Raises:
        InvalidQuestionError: The query is empty.
        ConfigurationError: `k`, `read_k` or `gate` is out of range, or a part returns something else than it should.
    """

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, use_attribute_docstrings=True)

    retriever: RetrieverLike
    """Any retriever, or a Runnable from text to documents. It decides how many each search can give."""

    reader: Annotated[ReaderLike | None, BeforeValidator(as_reader)] = None
    """What reads: a chat model or its name, a `Solver`, or any Runnable or function from `{"subquestion": …,
    "documents": …}` to an answer, several in a list, or None. None: nobody reads."""

    decomposer: DecomposerLike = Field(default_factory=Decomposer)
    """A `Decomposer`, what one is made of, or any Runnable from `Question` to `Decomposition`."""

    gate: Gate | None = None
    """When a question is divided, in the place of the decomposer's own gate; None: as the decomposer says. `invoke(…,
    gate=…)` replaces it."""

    k: Annotated[int, AfterValidator(_check_k)] = 9
    """The most documents to return; `invoke(…, k=…)` replaces it."""

    read_k: Annotated[int, AfterValidator(_check_k)] = 4
    """The most documents that are read for one answer: the best of a search, and never more than `k`."""

    fuse: Fuse = "turns"
    """"turns" (each search gives its best in turn) or "rrf" (reciprocal rank fusion)."""

    reranker: BaseDocumentCompressor | None = None
    """Any document compressor; it is given all that was found, and the whole question. Its order counts."""

    on_trouble: OnTrouble = "go_on"
    """What happens when the decomposer, a search or a reading fails twice: "go_on" without it, and say so in the
    metadata and the log; "raise". A broken set-up, and searches that all fail, always raise."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_solver(cls, values: Any) -> Any:
        if isinstance(values, dict) and "solver" in values:
            raise ConfigurationError(
                "DecomposedRetriever takes no solver=. What reads is its reader=, which may be the same chat model; "
                "answer the question itself from the documents it returns."
            )
        return values

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """The configurable fields of all parts."""
        reader = self._reader
        parts = [self.decomposer, self.retriever, *([] if reader is None else [reader])]
        return get_unique_config_specs(spec for part in parts for spec in part.config_specs)

    @property
    def _reader(self) -> Runnable[Any, Any] | None:
        return cast("Runnable[Any, Any] | None", self.reader)  # the validator made one of whatever was passed

    # The base class hands a retriever its callbacks alone; whatever else is in the config has to reach the parts too.

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents for one question; `k` and `gate` replace the fields, other arguments are a search's."""
        config = ensure_config(config)
        return super().invoke(input, config, call_config=config, **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """Return the documents for one question, without blocking the event loop; arguments as `invoke` takes them."""
        config = ensure_config(config)
        return await super().ainvoke(input, config, call_config=config, **kwargs)

    def as_tool(
        self,
        args_schema: type[BaseModel] | None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        arg_types: dict[str, type] | None = None,
    ) -> BaseTool:
        """Return a tool for an agent: passages, each under the subquestion that found it; the documents as artifact.

        Arguments of `args_schema` besides `query` go to `invoke`: `k`, `gate`, a `filter` of the retriever.

        Raises:
            ConfigurationError: `arg_types` is given.
        """
        if arg_types is not None:
            raise ConfigurationError(f"arg_types is {arg_types}; pass args_schema, a pydantic model of the arguments.")
        return make_tool(self, args_schema, name, description)

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        call, config, limiter = self._for_one_call(options, run_manager)
        plan = drive(call._divide(query), config, limiter)
        return drive(call._retrieve(plan, options), call._traced(config, plan), limiter)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **options: Any
    ) -> list[Document]:
        call, config, limiter = self._for_one_call(options, run_manager)
        plan = await adrive(call._divide(query), config, limiter)
        return await adrive(call._retrieve(plan, options), call._traced(config, plan), limiter)

    def _for_one_call(
        self,
        options: dict[str, Any],
        run_manager: CallbackManagerForRetrieverRun | AsyncCallbackManagerForRetrieverRun,
    ) -> tuple["DecomposedRetriever", RunnableConfig, Limiter]:
        """Take out of `options` what is not the searches'; return the retriever as a call asks, and what it runs in."""
        config = patch_config(options.pop("call_config", None), callbacks=run_manager.get_child())
        k, gate = options.pop("k", None), options.pop("gate", None)
        changes = {
            "k": self.k if k is None else _check_k(k),
            "gate": self.gate if gate is None else check_gate(gate),
        }
        return self.model_copy(update=changes), config, limiter_of(config)

    def _divide(self, query: Any) -> Stage[Decomposition]:
        question = Question.from_input(query)
        if self.gate == "never":
            return Decomposition(question=question, reason="the gate is 'never'")
        decomposer = self.decomposer
        if self.gate is not None and isinstance(decomposer, Decomposer):
            decomposer = decomposer.model_copy(update={"gate": self.gate})
        plan = yield from ask_decomposer(decomposer, question, self.on_trouble)
        return self._gated(plan)

    def _gated(self, plan: Decomposition) -> Decomposition:
        """Leave a question whole that another decomposer than ours divided, if its probability says so."""
        probability = plan.no_decomposition_probability
        if not isinstance(self.gate, (int, float)) or probability is None or probability < self.gate:
            return plan
        reason = f"the probability that no decomposition is needed is {probability:.2f} (gate {self.gate:g})"
        return plan.model_copy(update={"subquestions": (), "reason": reason})

    def _traced(self, config: RunnableConfig, plan: Decomposition) -> RunnableConfig:
        gate = self.decomposer.gate if self.gate is None and isinstance(self.decomposer, Decomposer) else self.gate
        metadata = {
            "divconq_plan": list(plan.subquestions),
            "divconq_gate": gate,
            "divconq_confidence": plan.confidence,
        }
        return merge_configs(config, {"metadata": metadata})

    def _walk(self, plan: Decomposition, options: dict[str, Any]) -> Walk:
        return Walk(plan, self.retriever, self._reader, min(self.k, self.read_k), self.on_trouble, options)

    def _retrieve(self, plan: Decomposition, options: dict[str, Any]) -> Stage[list[Document]]:
        yield Announcement(DECOMPOSITION_EVENT, plan.model_dump(mode="json"))
        walk = self._walk(plan, options)
        yield from walk.go()
        hits = fused([*walk.searches.values()], self.fuse)
        if self.reranker is None:
            return _labelled(within(hits, walk.whole, self.k), walk)
        documents = yield from walk.rerank(self.reranker, _labelled(hits, walk))
        return (_labelled(within(hits, walk.whole, self.k), walk) if documents is None else documents)[: self.k]


def _labelled(hits: Sequence[Hit], walk: Walk) -> list[Document]:
    """Return copies of the documents that say what found them, and what failed."""
    labelled = []
    for hit in hits:
        hop = walk.hops[hit.query.number]
        origin: dict[str, Any] = {"number": hop.number, "subquestion": hit.query.text, "answer": hop.answer}
        if walk.troubles:
            origin["partial"] = list(walk.troubles)
        metadata = {**hit.document.metadata, METADATA_KEY: origin}
        labelled.append(hit.document.model_copy(update={"metadata": metadata}))
    return labelled


def limiter_of(config: RunnableConfig) -> Limiter:
    """Return what lets the calls of one question go one after another where those of a batch are limited."""
    return Limiter(None if config.get("max_concurrency") is None else 1)
