"""x."""


def build_huggingface(lists: object) -> object:
    """X."""
    raise NotImplementedError
