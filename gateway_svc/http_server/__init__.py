"""uvicorn with limits per client: heads, trailers, time, connections."""
