"""A page that shows plan, hops, passages and answer as they come: FastAPI with server-sent events.

Usage: python examples/streaming_page.py PORT [PROVIDER:MODEL], then open http://127.0.0.1:PORT
"""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from fastapi.responses import FileResponse, StreamingResponse
from langchain_core.runnables import Runnable


def make_app(chain: Runnable[dict[str, str], dict[str, object]]) -> FastAPI:
    app = FastAPI()
    app.get("/")(lambda: FileResponse(Path(__file__).with_suffix(".html")))
    app.get("/answer")(lambda question: StreamingResponse(stream(chain, question), media_type="text/event-stream"))
    return app


async def stream(chain: Runnable[dict[str, str], dict[str, object]], question: str) -> AsyncIterator[str]:
    async for event in chain.astream_events({"question": question}, version="v2"):
        if event["event"] == "on_custom_event":  # divconq_decomposition, divconq_hop
            yield f"event: {event['name']}\ndata: {json.dumps(event['data'])}\n\n"
        elif event["event"] == "on_parser_stream":
            yield f"event: token\ndata: {json.dumps(event['data']['chunk'])}\n\n"
    yield "event: end\ndata: null\n\n"


if __name__ == "__main__":
    from answer_with_citations import chain

    uvicorn.run(make_app(chain), port=int(sys.argv[1])) if len(sys.argv) > 1 else print(__doc__)
