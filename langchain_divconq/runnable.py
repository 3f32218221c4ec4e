"""Runnables that do a stage's work, and that LangChain can write and read again."""

from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForChainRun,
    BaseCallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.load.serializable import Serializable, SerializedConstructor, SerializedNotImplemented
from langchain_core.runnables import RunnableConfig, RunnableSerializable
from langchain_core.runnables.config import patch_config
from langchain_core.runnables.utils import Input, Output
from pydantic import BaseModel, ConfigDict

from langchain_divconq.calls import Limiter, Stage, adrive, drive
from langchain_divconq.errors import ConfigurationError


class StageRunnable(RunnableSerializable[Input, Output]):
    """A Runnable whose work is a stage, driven with and without an event loop.

    `langchain_core.load.dumpd` writes it and `load` reads it, as far as its parts are such. To read one, name what may
    be made: `load(manifest, allowed_objects=[DivideAndConquer, Solver, ChatOpenAI])`.
    """

    model_config = ConfigDict(
        extra="forbid", arbitrary_types_allowed=True, protected_namespaces=(), use_attribute_docstrings=True
    )

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that it can be written."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return what it was made of; a part that cannot be written raises a ConfigurationError."""
        given = {name: getattr(self, name) for name in sorted(self.model_fields_set)}
        options = {name: self._plain(name, value) for name, value in given.items()}
        return SerializedConstructor(lc=1, type="constructor", id=self.lc_id(), kwargs=options)

    def _plain(self, name: str, value: object) -> object:
        if isinstance(value, Serializable):
            if value.is_lc_serializable():
                return value
        elif isinstance(value, BaseModel):
            return value.model_dump(mode="json")
        elif value is None or isinstance(value, (str, int, float, bool, dict)):
            return value
        kind, own = getattr(value, "__name__", type(value).__name__), type(self).__name__
        raise ConfigurationError(
            f"The {name} of this {own}, a {kind}, cannot be written by LangChain's dumpd. Keep the code that makes the "
            f"{own} instead."
        )

    def stage(self, value: Input, options: dict[str, Any]) -> Stage[Output]:
        """Return the work on one input; `options` are a call's keyword arguments."""
        raise NotImplementedError

    def _begin(
        self, value: Input, config: RunnableConfig, options: dict[str, Any]
    ) -> tuple[Stage[Output], RunnableConfig]:
        """Return the work on one input, and the config of the calls that it makes."""
        return self.stage(value, options), config

    def _prepare(
        self, value: Input, callbacks: BaseCallbackManager, config: RunnableConfig, options: dict[str, Any]
    ) -> tuple[Stage[Output], RunnableConfig, Limiter]:
        limiter = options.pop("limiter", None) or Limiter(config.get("max_concurrency"))  # a batch has one for all
        return *self._begin(value, patch_config(config, callbacks=callbacks), options), limiter

    def invoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """Do the work on one input."""
        return self._call_with_config(self._invoke, input, config, **kwargs)

    async def ainvoke(self, input: Input, config: RunnableConfig | None = None, **kwargs: Any) -> Output:
        """Do the work on one input without blocking the event loop."""
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    def _invoke(
        self, value: Input, run_manager: CallbackManagerForChainRun, config: RunnableConfig, **options: Any
    ) -> Output:
        work, config, limiter = self._prepare(value, run_manager.get_child(), config, options)
        return drive(work, config, limiter)

    async def _ainvoke(
        self, value: Input, run_manager: AsyncCallbackManagerForChainRun, config: RunnableConfig, **options: Any
    ) -> Output:
        work, config, limiter = self._prepare(value, run_manager.get_child(), config, options)
        return await adrive(work, config, limiter)
