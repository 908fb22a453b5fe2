"""x."""


def build_wikiart(lists: object, images: object = None) -> object:
    """X."""
    raise NotImplementedError
