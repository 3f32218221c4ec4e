import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from langchain_divconq import errors
from langchain_divconq.errors import ContextLengthError, DecompositionError, DivConqError

SPECIAL = {
    ContextLengthError: ContextLengthError(prompt_tokens=9, n_ctx=8),
    DecompositionError: DecompositionError("The decomposer wrote no plan.", llm_output="Sure!"),
}
KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, DivConqError)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_a_copied_error_is_what_it_was(kind: type[DivConqError], copied: Callable[[Any], Any]) -> None:
    error = SPECIAL.get(kind) or kind("It is broken.")
    again = copied(error)
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))
