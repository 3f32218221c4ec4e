"""The records that flow through the library: Question → Decomposition → Solution. All of them are immutable."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypeAlias

from langchain_core.documents import Document
from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, convert_to_messages
from langchain_core.messages.utils import MessageLikeRepresentation
from langchain_core.prompt_values import ChatPromptValueConcrete, PromptValue, StringPromptValue
from pydantic import Field, ValidationError, field_validator, model_validator
from typing_extensions import TypedDict  # pydantic reads this TypedDict alone before Python 3.12

from langchain_divconq.errors import DivConqError, InvalidQuestionError
from langchain_divconq.usage import Record, StageUsage, Usage

MAX_SUBQUESTIONS = 9
"""The highest cap that can be asked for: one digit numbers a subquestion and refers to it."""

METADATA_KEY = "divconq"
"""Where an AIMessage of the chain carries its Solution, within `response_metadata`."""

# "#12" is no reference to 1 followed by a 2, and what is too long to number anything (a colour) is no reference.
_REFERENCE = re.compile(r"#([0-9]{1,4})(?![0-9])")

_LAST_WORD = re.compile(r"([^\W_]+)\W*\Z")


def references(subquestion: str, asked: str = "") -> tuple[int, ...]:
    """Return the numbers of the earlier subquestions whose answers this one needs (`#1` → 1), each once, ascending.

    `asked`: the words of the question and its context. Where `#1` stands there ("issue #1"), a `#1` behind the same
    word is the user's, and no reference. Of that text alone the function returns the numbers behind every such `#`.
    """
    users = _users_hashes(asked)
    found = {int(match[1]) for match in _REFERENCE.finditer(subquestion) if _with_word_before(match) not in users}
    return tuple(sorted(found))


def fill_references(subquestion: str, answers: Mapping[int, str], asked: str = "") -> str:
    """Return the subquestion with each `#n` replaced by answer n; what has none, or is the user's own, stays."""
    users = _users_hashes(asked)

    def fill(match: re.Match[str]) -> str:
        return match[0] if _with_word_before(match) in users else answers.get(int(match[1]), match[0])

    return _REFERENCE.sub(fill, subquestion)


def _users_hashes(asked: str) -> set[tuple[str, str]]:
    return {_with_word_before(match) for match in _REFERENCE.finditer(asked)} if "#" in asked else set()


def _with_word_before(match: re.Match[str]) -> tuple[str, str]:
    word = _LAST_WORD.search(match.string, max(0, match.start() - 40), match.start())
    return (word[1].casefold() if word else "", match[1])


class QuestionMapping(TypedDict):
    """A question as a mapping."""

    question: str
    context: NotRequired[str | list[Document] | None]


class Question(Record):
    """A question, with the passage or premise it is about.

    Example:
        ```python
        Question(text="How many carts crossed it in a week?", context="The bridge carried 30 carts a day.")
        ```
    """

    text: str = Field(strict=True)  # strict: bytes are no text
    """The question in words."""

    context: str | None = Field(default=None, strict=True)
    """A passage the question is to be answered from; None: there is none."""

    history: tuple[AnyMessage, ...] = Field(default=(), exclude=True, repr=False)
    """Messages that precede the question in a chat (system message included). They reach the solver as they are; the
    decomposer sees the question and its context alone."""

    @field_validator("text")
    @classmethod
    def _not_empty(cls, text: str) -> str:
        if not text.strip():
            raise InvalidQuestionError(f"The question is empty ({text!r}). Pass the question in words.")
        return text

    @field_validator("text", "context")
    @classmethod
    def _encodable(cls, text: str | None) -> str | None:
        try:
            (text or "").encode()
        except UnicodeEncodeError as error:  # a lone surrogate: bytes of another encoding, read as UTF-8
            raise InvalidQuestionError(f"{text!r} cannot be written as UTF-8: {error.reason}.") from None
        return text

    @field_validator("context")
    @classmethod
    def _blank_is_none(cls, context: str | None) -> str | None:
        return context if context and context.strip() else None

    @property
    def words(self) -> str:
        """All that a plan may take its names from: the question, and the context below it."""
        return self.text if self.context is None else f"{self.text}\n{self.context}"

    @classmethod
    def from_input(cls, value: "QuestionInput") -> "Question":
        """Return the question in whatever a chain or chat model may be given.

        That is a string, a `Question`, a mapping with `question` and perhaps `context` (text, or documents as a
        retriever finds them; other keys are ignored), a prompt value, or chat messages of which the last is the user's.

        Raises:
            InvalidQuestionError: It is empty, holds no text, holds more than text, or does not end with a user message.
        """
        if isinstance(value, Question):
            return value
        if isinstance(value, str):
            return cls._build(text=value)
        if isinstance(value, Mapping):
            if "question" not in value:
                raise InvalidQuestionError(
                    f"Expected a mapping with 'question' and perhaps 'context', got the keys {sorted(map(str, value))}."
                )
            return cls._build(text=value["question"], context=_as_text(value.get("context")))
        return cls._from_messages(_as_messages(value))

    @classmethod
    def _from_messages(cls, messages: Sequence[BaseMessage]) -> "Question":
        if not messages:
            raise InvalidQuestionError("There is no message; the last one must hold the user's question.")
        last = messages[-1]
        if not isinstance(last, HumanMessage):
            raise InvalidQuestionError(
                f"The last message must be the user's question, got a message of type {last.type!r}."
            )
        if isinstance(last.content, list):
            kinds = {str(block.get("type", "?")) for block in last.content if isinstance(block, dict)} - {"text"}
            if kinds:
                raise InvalidQuestionError(
                    f"Only text can be divided; the question holds {', '.join(sorted(kinds))}. "
                    "Describe it in words, or call the solver directly."
                )
        return cls._build(text=last.text, history=tuple(messages[:-1]))

    @classmethod
    def _build(cls, **fields: Any) -> "Question":
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            cause = first.get("ctx", {}).get("error")
            if isinstance(cause, InvalidQuestionError):
                raise cause from None
            name = "question" if first["loc"][0] == "text" else first["loc"][0]
            raise InvalidQuestionError(f"The {name} must be text, got {first['input']!r}.") from None


def _as_text(context: object) -> object:
    """Return documents as text, one after another; anything else as it is."""
    documents = [context] if isinstance(context, Document) else context
    if isinstance(documents, Sequence) and all(isinstance(document, Document) for document in documents):
        return "\n\n".join(document.page_content for document in documents)
    return context


def _as_messages(value: object) -> list[BaseMessage]:
    if isinstance(value, PromptValue):
        return value.to_messages()
    if isinstance(value, BaseMessage):
        return [value]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        try:
            return convert_to_messages(value)
        except (ValueError, NotImplementedError, TypeError, LookupError, AttributeError) as error:
            raise InvalidQuestionError(f"The messages cannot be read: {error}") from error
    raise InvalidQuestionError(
        f"Expected a question as text, a mapping, messages or a prompt value, got {type(value).__name__}."
    )


QuestionInput: TypeAlias = (
    str | Question | Mapping[str, Any] | PromptValue | BaseMessage | Sequence[MessageLikeRepresentation]
)
"""What the chain and the decomposer take for a question."""

QUESTION_SCHEMA: Any = str | Question | QuestionMapping | StringPromptValue | ChatPromptValueConcrete | list[AnyMessage]
"""The same in types that a JSON schema can show."""


class Decomposition(Record):
    """A question and the subquestions it was divided into.

    Example:
        ```python
        decomposition = Decomposer().invoke("Who is the spouse of the author of Emma?")
        for number, subquestion in enumerate(decomposition.subquestions, start=1):
            print(number, subquestion, decomposition.needs(number))
        ```
    """

    question: Question
    """The question that was divided."""

    subquestions: tuple[str, ...] = ()
    """In the order to answer them; empty: there is nothing to divide. `#n` in a subquestion stands for the answer to
    the n-th, which is always an earlier one; see `needs` and `filled`."""

    no_decomposition_probability: float | None = Field(default=None, ge=0, le=1)
    """The decomposer's own probability, from 0 to 1, that the question needs no decomposition; None where the model
    reports no log-probabilities."""

    confidence: float | None = Field(default=None, ge=0, le=1)
    """How likely the plan is good, from 0 to 1; None: there is no plan, or the model is not calibrated. Of plans with
    a confidence of about 0.8, about 80% are good: measured on questions that trained nothing."""

    reason: str = ""
    """Why there are no subquestions, or what was changed in the plan, in words; empty where all is as written."""

    text: str = ""
    """The plan as the decomposer wrote it; empty where it was not asked."""

    usage: StageUsage = StageUsage()
    """What the decomposer used."""

    @model_validator(mode="after")
    def _references_point_back(self) -> "Decomposition":
        for number, subquestion in enumerate(self.subquestions, start=1):
            if not subquestion.strip() or "\n" in subquestion:
                raise ValueError(f"Subquestion {number} must be one line of text, got {subquestion!r}.")
            for reference in references(subquestion, self.question.words):
                if not 1 <= reference < number and reference not in references(self.question.words):
                    raise ValueError(
                        f"Subquestion {number} refers to #{reference}, which is not an earlier one: {subquestion!r}"
                    )
        return self

    def needs(self, number: int) -> tuple[int, ...]:
        """Return the numbers of the earlier subquestions whose answers subquestion `number` (from 1) needs."""
        found = references(self.subquestions[number - 1], self.question.words)
        return tuple(earlier for earlier in found if earlier < number)

    def filled(self, number: int, answers: Mapping[int, str]) -> str:
        """Return subquestion `number` (from 1) with the answers it needs filled in; references without one stay."""
        needed = {earlier: answers[earlier] for earlier in self.needs(number) if earlier in answers}
        return fill_references(self.subquestions[number - 1], needed, self.question.words)


class Subanswer(Record):
    """One subquestion and what the solver said to it.

    Example:
        ```python
        for step in solution.subanswers or ():
            print(step.subquestion, step.answer)
        ```
    """

    subquestion: str
    """As it was asked, references filled in where they were known."""

    answer: str | None
    """The short answer; None: the solver gave none, or the subquestion was not asked because an answer it needs is
    missing."""


Mode: TypeAlias = Literal["fused", "sequential", "parallel"]
"""How subquestions are solved: one call for all; one after another; independent ones at once."""

SingleStage: TypeAlias = Literal["direct", "step_by_step"]
"""How a question is solved that is not divided."""


class Solution(Record):
    """The answer to a question, with all that led to it.

    Example:
        ```python
        solution = Solution.from_message(chain.invoke("Is 3 times 17 more than half of 90?"))
        print(solution.answer, solution.mode, solution.usage.solve.dollars)
        ```
    """

    answer: str | None
    """The short final answer; None where the reply holds none that can be told from the rest."""

    text: str
    """The solver's whole (closing) reply."""

    decomposition: Decomposition
    """The question and its subquestions."""

    subanswers: tuple[Subanswer, ...] | None = None
    """What was answered to each subquestion; None where one call answers all."""

    mode: Mode | SingleStage
    """The mode that ran."""

    reason: str = ""
    """Why this mode ran, in words."""

    usage: Usage = Usage()
    """Tokens, seconds and dollars of both stages."""

    @property
    def subquestions(self) -> tuple[str, ...]:
        """The subquestions, as the decomposer wrote them."""
        return self.decomposition.subquestions

    @classmethod
    def from_message(cls, message: BaseMessage) -> "Solution":
        """Return the Solution that a message of the chain carries.

        Raises:
            DivConqError: The message carries none (another model wrote it, or it is from the middle of a stream), or
                one that cannot be read.
        """
        payload = message.response_metadata.get(METADATA_KEY)
        if payload is None:
            raise DivConqError(
                f"This {type(message).__name__} carries no Solution. Pass the message DivideAndConquer returned; of a "
                "stream, the sum of all chunks or the last one."
            )
        try:
            return cls.model_validate(payload)
        except ValidationError as error:
            raise DivConqError(f"The Solution in this {type(message).__name__} cannot be read: {error}") from error

    def to_message(self, message: AIMessage) -> AIMessage:
        """Return the message with this Solution in its `response_metadata`, as plain JSON values."""
        metadata = {**message.response_metadata, METADATA_KEY: self.model_dump(mode="json")}
        return message.model_copy(update={"response_metadata": metadata})
