"""The HTTP gateway, driven by openapi/openapi.yaml, in front of the user service."""

import warnings

# Connexion imports Starlette's test client, which wants a successor of httpx that nothing here uses.
warnings.filterwarnings("ignore", message=r"Using `httpx` with `starlette\.testclient` is deprecated")
