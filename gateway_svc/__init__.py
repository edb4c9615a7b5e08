"""The HTTP gateway, driven by openapi/openapi.yaml, in front of the user service."""

import warnings

import jwt

# Connexion imports Starlette's test client, which wants a successor of httpx that nothing here uses.
warnings.filterwarnings("ignore", message=r"Using `httpx` with `starlette\.testclient` is deprecated")
# Previous secrets may be short; the one that signs is checked when the settings are loaded.
warnings.filterwarnings("ignore", category=jwt.InsecureKeyLengthWarning)
