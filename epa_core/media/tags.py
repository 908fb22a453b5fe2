"""What a file says about itself: title and rights, and that an algorithm made the pictures.

The marking is the IPTC digital source type as an XMP property (Iptc4xmpExt:DigitalSourceType). XMP
lives in the WebP chunk "XMP ", in a JPEG APP1 segment, and in MP4 as a top-level ``uuid`` box.
"""

import html
import unicodedata
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_VOCABULARY: Final = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# Terms of the vocabulary, and the comment a file carries when the catalog gives none: made by a
# model trained on sampled content, or by a formula that was trained on nothing.
SOURCE_TYPES: Final = {
    "trainedAlgorithmicMedia": "AI-generated animation of a painting",
    "algorithmicMedia": "Animation of a painting, computed by a formula",
}
XMP_UUID: Final = uuid.UUID("be7acfcb-97a9-42e8-9c71-999491e3afac").bytes

# Longest text kept, in characters: catalogs hold whole essays, players show a line, and all of it
# together, escaped, has to fit the 65 kB of one JPEG segment.
MAX_LENGTH: Final = {
    "title": 200,
    "artist": 200,
    "copyright": 500,
    "comment": 500,
    "description": 2000,
    "date": 40,
    "item_id": 200,
    "key": 128,
    "config": 128,
}

# Unicode categories that never belong into a tag: controls, surrogates, private use, unassigned.
_DROPPED: Final = {"Cc", "Cs", "Co", "Cn"}
# Marks that reverse the reading direction of what follows, a known way to disguise text.
_BIDI_OVERRIDES: Final = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_PACKET: Final = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about=""
 xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:epa="https://arxiv.org/abs/2503.23736#"{attributes}>{elements}
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""


@dataclass(frozen=True)
class VideoTags:
    """Free text about one clip, as the catalog gives it; cleaned and shortened when written."""

    title: str = ""
    artist: str = ""
    description: str = ""
    comment: str = ""
    copyright: str = ""
    item_id: str = ""
    key: str = ""
    config: str = ""
    date: str = ""
    source_type: str = "trainedAlgorithmicMedia"

    def __post_init__(self) -> None:
        if self.source_type not in SOURCE_TYPES:
            raise ValueError(
                f"source_type is {self.source_type!r}; allowed are {', '.join(SOURCE_TYPES)}"
            )

    @property
    def source_uri(self) -> str:
        """The IPTC digital source type as a URI."""
        return _VOCABULARY + self.source_type


def clean_text(text: str, limit: int) -> str:
    """Return one line of at most ``limit`` characters without controls or direction overrides."""
    spaced = "".join(" " if c.isspace() else c for c in text[: 8 * limit])
    kept = "".join(
        c
        for c in spaced
        if c not in _BIDI_OVERRIDES and (c == " " or unicodedata.category(c) not in _DROPPED)
    )
    line = " ".join(kept.split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def clean_tags(tags: VideoTags) -> dict[str, str]:
    """Return the non-empty fields of ``tags``, cleaned."""
    cleaned = {name: clean_text(getattr(tags, name), limit) for name, limit in MAX_LENGTH.items()}
    return {name: text for name, text in cleaned.items() if text}


def container_metadata(tags: VideoTags, *, mark_ai: bool) -> dict[str, str]:
    """Return the key/value tags of a container; MP4 keeps only well-known keys.

    Item id, key and configuration therefore close the comment, the one field that all keep.
    """
    fields = clean_tags(tags)
    known = ("title", "artist", "copyright", "description", "date")
    metadata = {name: fields[name] for name in known if name in fields}
    origin = " ".join(
        f"{label}={fields[name]}"
        for name, label in (("item_id", "item"), ("key", "key"), ("config", "config"))
        if name in fields
    )
    comment = fields.get("comment", SOURCE_TYPES[tags.source_type] if mark_ai else "")
    comment = " ".join(part for part in (comment, f"[epa {origin}]" if origin else "") if part)
    if comment:
        metadata["comment"] = comment
    return metadata


def xmp_packet(tags: VideoTags) -> bytes:
    """Return the UTF-8 XMP packet that marks a picture as made by an algorithm."""
    fields = {name: html.escape(text) for name, text in clean_tags(tags).items()}
    attributes = f'\n Iptc4xmpExt:DigitalSourceType="{tags.source_uri}"'
    for name in ("item_id", "key", "config"):
        if name in fields:
            attributes += f'\n epa:{name}="{fields[name]}"'
    elements = ""
    for name, element in (
        ("title", "title"),
        ("description", "description"),
        ("copyright", "rights"),
    ):
        if name in fields:
            text = f'<rdf:li xml:lang="x-default">{fields[name]}</rdf:li>'
            elements += f"\n<dc:{element}><rdf:Alt>{text}</rdf:Alt></dc:{element}>"
    if "artist" in fields:
        creator = f"<rdf:li>{fields['artist']}</rdf:li>"
        elements += f"\n<dc:creator><rdf:Seq>{creator}</rdf:Seq></dc:creator>"
    return _PACKET.format(attributes=attributes, elements=elements).encode("utf-8")


def append_xmp_box(mp4: bytes, packet: bytes) -> bytes:
    """Return the MP4 with the packet in a closing ``uuid`` box (ISO 14496-12, XMP part 3)."""
    return mp4 + (24 + len(packet)).to_bytes(4, "big") + b"uuid" + XMP_UUID + packet


def mp4_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, payload) of the top-level boxes; ValueError where their sizes do not add up."""
    position = 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        header = 8
        if size == 1:
            size, header = int.from_bytes(data[position + 8 : position + 16], "big"), 16
        elif size == 0:
            size = len(data) - position
        if size < header or position + size > len(data):
            raise ValueError(f"the box at byte {position} does not fit into the file")
        yield data[position + 4 : position + 8], data[position + header : position + size]
        position += size
