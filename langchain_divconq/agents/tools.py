"""Tools that an agent calls: one divides a question, one answers it.

An error of this library, or a context that overflows, reaches the agent as a tool message of status "error", in words.
Where there is no message to mark (a call with plain arguments, as over MCP), or with `handle_tool_error=False`, it is
raised, as langchain-core's ToolException with our error as its cause.
"""

from abc import abstractmethod
from typing import Any, Literal, TypeAlias

from langchain_core.callbacks import AsyncCallbackManagerForToolRun, CallbackManagerForToolRun
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import merge_configs, patch_config
from langchain_core.tools.base import ArgsSchema
from pydantic import BaseModel, ConfigDict, Field

from langchain_divconq.asking import DecomposerLike, OnTrouble, ask_decomposer
from langchain_divconq.calls import Call, Limiter, Stage, adrive, drive
from langchain_divconq.chain import DivideAndConquer
from langchain_divconq.decomposer import Decomposer
from langchain_divconq.plans import render_plan
from langchain_divconq.tool_errors import MarksErrors, told_to_the_agent
from langchain_divconq.types import Decomposition, Question, Solution

Manager: TypeAlias = CallbackManagerForToolRun | AsyncCallbackManagerForToolRun


class QuestionInput(BaseModel):
    """A question, and the passage it is about."""

    question: str = Field(description="The whole question in words, with every name and number it depends on.")
    context: str | None = Field(default=None, description="The passage that the question is about, if there is one.")


class _QuestionTool(MarksErrors):
    """A tool that takes a question, returns text with a record as artifact, and tells the agent what went wrong."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    args_schema: ArgsSchema = QuestionInput
    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"

    def _run(
        self, question: str, context: str | None = None, *, config: RunnableConfig, run_manager: Manager
    ) -> tuple[str, Any]:
        with told_to_the_agent():
            return drive(self._stage(question, context), _child(config, run_manager), Limiter(None))

    async def _arun(
        self, question: str, context: str | None = None, *, config: RunnableConfig, run_manager: Manager
    ) -> tuple[str, Any]:
        with told_to_the_agent():
            return await adrive(self._stage(question, context), _child(config, run_manager), Limiter(None))

    @abstractmethod
    def _stage(self, question: str, context: str | None) -> Stage[tuple[str, Any]]:
        """Return the text for the agent, and the record."""


class DecomposeTool(_QuestionTool):
    """Divides a question into subquestions; the artifact is the `Decomposition`.

    Example:
        ```python
        agent = create_agent("openai:gpt-5-mini", tools=[DecomposeTool(), search])
        ```
    """

    name: str = "decompose_question"
    description: str = (
        "Split a question that takes several steps or several facts into a few simpler subquestions. Call it before "
        "you work on such a question; a question that one step answers needs no call. It returns a numbered list and "
        "answers nothing: answer the subquestions yourself, in order, then the question. In a subquestion, #1 stands "
        "for the answer to subquestion 1."
    )
    decomposer: DecomposerLike = Field(default_factory=Decomposer)
    """A `Decomposer`, what one is made of, or any Runnable from `Question` to `Decomposition`."""

    on_trouble: OnTrouble = "go_on"
    """What happens when the decomposer fails: "go_on" tells the agent why, and to answer the question directly;
    "raise" makes it an error. A broken set-up always is one."""

    def _stage(self, question: str, context: str | None) -> Stage[tuple[str, Decomposition]]:
        asked = Question.from_input({"question": question, "context": context})
        decomposition = yield from ask_decomposer(self.decomposer, asked, self.on_trouble)
        if decomposition.subquestions:
            return render_plan(decomposition.subquestions), decomposition
        return f"There are no subquestions ({decomposition.reason}). Answer the question directly.", decomposition


class DivideAndConquerTool(_QuestionTool):
    """Answers a question in two stages; the artifact is the `Solution`.

    The tool message holds the short answer, or the solver's whole reply where that has none. Tokens of the chain stay
    out of a graph's message stream: they are not the agent's words.

    Example:
        ```python
        tool = DivideAndConquerTool(chain=DivideAndConquer("openai:gpt-5-mini"))
        agent = create_agent("openai:gpt-5-mini", tools=[tool])
        ```
    """

    name: str = "answer_complex_question"
    description: str = (
        "Answer a question that takes several steps of reasoning. The question is divided into subquestions, which are "
        "answered one by one. Nothing of this conversation is seen: pass the whole question, and as context any "
        "passage it is about. It returns the final answer. A question that one step answers needs no call."
    )
    chain: DivideAndConquer
    """What answers."""

    def _stage(self, question: str, context: str | None) -> Stage[tuple[str, Solution]]:
        asked = {"question": question, "context": context}
        [reply] = yield [Call(self.chain, asked, self.chain.get_name())]
        solution = Solution.from_message(reply.output)
        return solution.answer or solution.text, solution


def _child(config: RunnableConfig, run_manager: Manager) -> RunnableConfig:
    # A tool is handed the config of its caller: what it runs becomes its own child through its run manager.
    return merge_configs(patch_config(config, callbacks=run_manager.get_child()), {"tags": ["nostream"]})
