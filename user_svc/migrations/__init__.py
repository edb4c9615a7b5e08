"""The schema: its revisions, in expand/contract style, and how they are applied."""
