"""The HTTP gateway, driven by openapi/openapi.yaml, in front of the user service."""
