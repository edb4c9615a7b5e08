"""uvicorn with limits on what a client may hold: heads, trailers, time, connections."""
