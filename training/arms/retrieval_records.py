"""What a retrieval leaves: the ranks of each question's gold passages, and what it took. No text of any dataset."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from training.arms.records import Used


class RetrievalRecord(BaseModel):
    """What became of one question in one retrieval arm.

    Attributes:
        id: The example's.
        hops: How many gold passages there are, one to a hop.
        found: The rank, from 1, of each hop's gold passage among the documents returned; None: it is not there. A
            smaller budget's documents are the first of these, so recall at every budget follows.
        subquestions: How many the plan had.
        read: How many answers were read from documents: the subquestions that are referred to, where an answer came.
        read_right: How many of them are the gold answer of the hop they belong to; None: one belongs to no hop.
        no_plan: Why a decomposer that should have written a plan has none; None: it has one, or says itself that none
            is needed.
        failure: Why a model gave no reply, in the words of an answer's record; the search went on without it. None:
            all were answered.
        decompose, solve: What each stage used; the solver reads documents, or rewrites the question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    hops: int
    found: tuple[int | None, ...]
    subquestions: int = 0
    read: int = 0
    read_right: int | None = 0
    no_plan: str | None = None
    failure: str | None = None
    decompose: Used = Used()
    solve: Used = Used()

    def recall(self, budget: int) -> float:
        """Return the share of the gold passages among the first documents, as many as the budget."""
        return sum(rank is not None and rank <= budget for rank in self.found) / self.hops

    def is_complete(self, budget: int) -> bool:
        """Return whether all gold passages are among the first documents."""
        return self.recall(budget) == 1


class Found(BaseModel):
    """The documents that an arm returned for one question, by their ids: what the answers are read from.

    Attributes:
        id: The example's.
        documents: Best first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    documents: tuple[str, ...]
