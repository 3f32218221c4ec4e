"""llama.cpp's log, kept off stderr: one for the whole process, as llama.cpp has it."""

import logging
from collections import deque
from typing import Any

_WARNING, _ERROR = 2, 3  # GGML_LOG_LEVEL_WARN, GGML_LOG_LEVEL_ERROR

_log = logging.getLogger("langchain_divconq.llama_cpp")
_complaints: deque[str] = deque(maxlen=4)
_callback: Any = None


def route_log(lib: Any) -> None:
    """Send warnings and errors of `lib`, llama.cpp, to the logger "langchain_divconq.llama_cpp", at DEBUG."""
    global _callback
    _complaints.clear()
    if _callback is None:
        lib.llama_backend_init()

        def route(level: int, text: bytes, _data: object) -> None:
            message = text.decode(errors="replace").strip()
            if message and level in (_WARNING, _ERROR):
                if level == _ERROR:
                    _complaints.append(message)
                _log.debug(message)

        _callback = lib.llama_log_callback(route)  # kept, for llama.cpp keeps only a pointer to it
    lib.llama_log_set(_callback, None)


def last_complaint() -> str:
    """Return the last errors that llama.cpp wrote to its log."""
    return " ".join(_complaints) or "it gives no reason."
