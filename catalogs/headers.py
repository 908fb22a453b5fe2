"""What an object is served as: its content type and how long it may be kept."""

import mimetypes
from pathlib import PurePosixPath

from catalogs import paths

# Their names hold the content's digest, so what a browser has kept is never out of date.
IMMUTABLE = "max-age=31536000, immutable"
# Everything else may be replaced: kept, but asked about before it is shown again.
REPLACED = "no-cache"
_NEVER_REPLACED = (f"{paths.VIDEOS}/", f"{paths.PARTS}/")
# Those that not every system's tables know.
_TYPES = {
    ".yaml": "application/yaml",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
    ".mkv": "video/x-matroska",
    ".mp4": "video/mp4",
    ".safetensors": "application/octet-stream",
}


def content_type(path: str) -> str:
    """The media type of an object, by its name's ending."""
    suffix = PurePosixPath(path).suffix.lower()
    return _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "application/octet-stream"


def cache_control(path: str) -> str:
    """The Cache-Control header of an object, by its path under the collection's root."""
    return IMMUTABLE if path.startswith(_NEVER_REPLACED) else REPLACED
