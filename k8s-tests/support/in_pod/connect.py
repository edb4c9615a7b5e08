"""Opens TCP connections, all at once, and writes which `host:port` accepted one, as a JSON line."""

import asyncio
import json
import sys


async def accepts(peer: str, seconds: float) -> bool:
    """Whether anybody answers in this time."""
    host, _, port = peer.rpartition(":")
    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


async def main() -> None:
    """Try each."""
    seconds, *peers = sys.argv[1:]
    answers = await asyncio.gather(*(accepts(peer, float(seconds)) for peer in peers))
    print(json.dumps([peer for peer, answer in zip(peers, answers, strict=True) if answer]))


asyncio.run(main())
