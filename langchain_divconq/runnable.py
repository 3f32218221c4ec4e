"""Runnables that LangChain can write and read again."""

from __future__ import annotations

from langchain_core.load.serializable import Serializable, SerializedConstructor, SerializedNotImplemented
from pydantic import BaseModel

from langchain_divconq.errors import ConfigurationError


class Dumpable(Serializable):
    """What `langchain_core.load.dumpd` writes and `load` reads, as far as its parts are such.

    To read one, name what may be made: `load(manifest, allowed_objects=[DivideAndConquer, Solver, ChatOpenAI])`.
    """

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return that it can be written."""
        return True

    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        """Return what it was made of.

        Raises:
            ConfigurationError: A part of it cannot be written.
        """
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
