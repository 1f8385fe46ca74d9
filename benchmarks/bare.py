"""The yardstick of `benchmarks.api`: bare FastAPI routes that return given JSON. It prints its address."""

import json
import socket
import sys
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI


def create_app(bodies: dict[str, Any]) -> FastAPI:
    """Build an application with one route for each body: no credential, no database, no middleware."""
    app = FastAPI()

    def serve(name: str, body: Any) -> None:
        @app.get(f"/{name}/{{subject}}")
        async def read(subject: str) -> Any:
            return body

    for name, body in bodies.items():
        serve(name, body)
    return app


async def main() -> None:
    """Serve what the first argument holds, as JSON, until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    # The same server options as the platform's own.
    config = uvicorn.Config(
        create_app(json.loads(sys.argv[1])), log_config=None, access_log=False, server_header=False
    )
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{listener.getsockname()[1]}"}) + "\n")
    sys.stdout.flush()
    await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    uvloop.run(main())
