"""The models that come with the library as decomposers, and what a name stands for: "small", "medium", a path."""

from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable
from langchain_core.runnables.base import RunnableBindingBase

from langchain_divconq.confidence import StudentCard, load_card
from langchain_divconq.errors import ConfigurationError
from langchain_divconq.llamacpp.chat_models import ChatGGUF
from langchain_divconq.llamacpp.weights import Size, default_adapter, default_weights, shipped_adapter
from langchain_divconq.unwrap import named_model

SIZES: tuple[Size, ...] = ("small", "medium")


def bundled_model(size: Size | str = "small", **options: Any) -> ChatGGUF:
    """Return a model that comes with the library, with the adapter that ships for it.

    Args:
        size: "small" (135 million parameters, in a package) or "medium" (half a billion, fetched once from the hub).
        options: Fields of `ChatGGUF`, such as `engine` or `n_threads`.

    Raises:
        WeightsNotFoundError: The medium weights are nowhere; those of the small model are looked for at the first call.
        ConfigurationError: There is no such size.
    """
    if size not in SIZES:
        raise ConfigurationError(f'There is no model {size!r} in the library; there are "small" and "medium".')
    if size == "small":
        return ChatGGUF(adapter_path=default_adapter(), **options)
    return ChatGGUF(model_path=default_weights("medium"), adapter_path=default_adapter("medium"), **options)


def served_card(reply: AIMessage) -> StudentCard:
    """Return what is known of a model behind a server that calls itself by a shipped adapter's name; else nothing."""
    name = reply.response_metadata.get("model_name")
    adapters = filter(None, map(shipped_adapter, SIZES))
    return next((load_card(adapter) for adapter in adapters if adapter.stem == name), StudentCard())


def decomposer_model(name: str | Path) -> Runnable[Any, Any]:
    """Return the model that a decomposer's name stands for: "small", "medium", a GGUF's path, or "provider:model".

    Raises:
        ConfigurationError: It names nothing, or the provider's model cannot be set up.
    """
    text = str(name)
    if text in SIZES:
        return bundled_model(text)
    if isinstance(name, Path) or text.startswith("gguf:") or ":" not in text:
        return gguf_model("decomposer", text)
    model: Runnable[Any, Any] = named_model("decomposer", text)
    return model


def gguf_model(option: str, name: str, **options: Any) -> ChatGGUF:
    """Return the model in a GGUF file, or raise ConfigurationError, in which `option` tells where the name was given.

    The path ends in .gguf, has "gguf:" before it, or is a file's.
    """
    path = Path(name.removeprefix("gguf:"))
    if not name.removeprefix("gguf:"):
        raise ConfigurationError(f"{option} {name} names no file; expected gguf:/path/to/model.gguf")
    if not (name.startswith("gguf:") or path.suffix == ".gguf" or path.expanduser().is_file()):
        known = '"small", "medium", ' if "decomposer" in option else ""
        raise ConfigurationError(
            f"{option} {name} names no model. Pass {known}the path of a GGUF (gguf:/path/to/model.gguf), or "
            "PROVIDER:MODEL."
        )
    return ChatGGUF(model_path=path, **options)


def with_shipped_adapter(model: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a model with the shipped adapter where it is the default weights, bound or not, and none is named.

    So `ChatGGUF(engine="xllamacpp")` is a decomposer; the bare weights have a path: `ChatGGUF(model_path=…)`.
    """
    if isinstance(model, RunnableBindingBase):
        return model.model_copy(update={"bound": with_shipped_adapter(model.bound)})
    if isinstance(model, ChatGGUF) and model.model_path is None and model.adapter_path is None:
        return model.model_copy(update={"adapter_path": default_adapter()})
    return model
