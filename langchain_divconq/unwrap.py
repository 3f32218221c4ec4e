"""The models behind a Runnable that something was bound to, that a config chooses, or that has fallbacks."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.runnables.fallbacks import RunnableWithFallbacks

from langchain_divconq.errors import ConfigurationError


def models(value: Any, options: Mapping[str, Any] | None = None) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Yield each Runnable that may answer, the preferred one first, with the keyword arguments it is called with.

    What is no Runnable is yielded as it is, of one that a config chooses the default. `options` are keyword arguments
    of the call; they take the place of bound ones.
    """
    options = dict(options or {})
    if isinstance(value, RunnableBindingBase):  # retries are one too
        yield from models(value.bound, {**value.kwargs, **options})
    elif isinstance(value, DynamicRunnable):
        yield from models(value.default, options)
    elif isinstance(value, RunnableWithFallbacks):
        for alternative in value.runnables:
            yield from models(alternative, options)
    else:
        yield value, options


def is_chat_model(value: object) -> TypeGuard[Runnable[Any, Any]]:
    """Return whether only chat models stand behind a value."""
    return all(isinstance(model, BaseChatModel) for model, _ in models(value))


def named_model(option: str, value: Any, **settings: Any) -> Any:
    """Return the chat model of a name such as "openai:gpt-5-mini"; anything but text as it is.

    `option` tells in messages where the name was given; `settings` are keyword arguments of the model.

    Raises:
        ConfigurationError: `langchain`, which knows the names, or the provider's package or key is missing.
    """
    if not isinstance(value, str):
        return value
    try:
        from langchain.chat_models import init_chat_model
    except ImportError as error:
        raise ConfigurationError(
            f"{option} {value!r} is the name of a chat model and needs the package langchain, which cannot be imported "
            f'({error}). Install it with: pip install "langchain-divconq[agents]"; or pass a chat model itself.'
        ) from error
    try:
        return init_chat_model(value, **settings)
    except Exception as error:  # each provider's package raises its own: no package, no key, no such option
        raise ConfigurationError(f"{option} {value!r} cannot be set up: {type(error).__name__}: {error}") from error


def rewrap(value: Any, change: Callable[[Any, dict[str, Any]], Runnable[Any, Any]], **bound: Any) -> Any:
    """Return a Runnable with each model behind it changed, and the same around it.

    `change` makes of a model and the keyword arguments bound to it what takes the place of both; `bound` are those that
    are bound further out.
    """
    if isinstance(value, RunnableBindingBase):
        inner = rewrap(value.bound, change, **{**value.kwargs, **bound})
        return value.model_copy(update={"bound": inner, "kwargs": {}})
    if isinstance(value, RunnableWithFallbacks):
        first, *others = (rewrap(alternative, change, **bound) for alternative in value.runnables)
        return value.model_copy(update={"runnable": first, "fallbacks": others})
    if isinstance(value, DynamicRunnable):

        def chosen(_: object, config: RunnableConfig, **options: Any) -> Runnable[Any, Any]:
            changed: Runnable[Any, Any] = rewrap(value.prepare(config)[0], change, **bound)
            return changed.bind(**options)

        return RunnableLambda(chosen)
    return change(value, bound)
