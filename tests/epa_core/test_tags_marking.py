"""Titles, rights and the mark of a trained model: written, read back, safe against odd text."""

import html
import io
import re
import shutil
import subprocess
import unicodedata
import xml.etree.ElementTree as ET
from dataclasses import replace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from epa_core.media.tags import (
    MAX_LENGTH,
    XMP_UUID,
    VideoTags,
    append_xmp_box,
    clean_tags,
    clean_text,
    container_metadata,
    mp4_boxes,
    xmp_packet,
)
from epa_core.media.video import EncodeSettings, encode_clip

FRAMES = np.random.default_rng(1).integers(0, 256, (3, 32, 48, 3), np.uint8)
ODD = VideoTags(
    title='The "Great" Wave <off> Kanagawa & 神奈川沖浪裏 🌊',
    artist="Katsushika Hokusai",
    description="waves rise\nand\tfall\x00\x07",
    copyright="CC0 'public' domain",
    item_id="../../<script>alert(1)</script>",
    key="a" * 64,
    config="b" * 64,
    date="1831",
)


def read_marking(data: bytes, name: str) -> dict[str, str]:
    """What a written file says of itself; empty without a marking. The suffix tells its kind."""
    suffix = name.rpartition(".")[2].lower()
    if suffix == "mkv":
        with av.open(io.BytesIO(data), "r") as container:
            tags = {key.lower(): text for key, text in container.metadata.items()}
        found = tags.get("digital_source_type")
        return {"digital_source_type": found} if found else {}
    if suffix == "mp4":
        boxes = (body for kind, body in mp4_boxes(data) if kind == b"uuid")
        packet = next((body[16:] for body in boxes if body[:16] == XMP_UUID), b"")
    else:
        with Image.open(io.BytesIO(data), formats=("WEBP", "JPEG")) as image:
            packet = image.info.get("xmp", b"")
    return parsed(packet.decode("utf-8"))


def parsed(packet: str) -> dict[str, str]:
    """Our own packet, by its fixed shape."""
    found = re.search(r'Iptc4xmpExt:DigitalSourceType="([^"]*)"', packet)
    if not found:
        return {}
    marking = {"digital_source_type": found[1]}
    marking.update(re.findall(r'\sepa:(\w+)="([^"]*)"', packet))
    marking.update(re.findall(r"<dc:(\w+)><rdf:\w+><rdf:li[^>]*>([^<]*)<", packet))
    return {name: html.unescape(text) for name, text in marking.items()}


def test_every_file_carries_the_marking() -> None:
    clip = encode_clip(FRAMES, EncodeSettings(archive=True), ODD)
    for name, data in clip.files.items():
        marking = read_marking(data, name)
        assert marking["digital_source_type"] == VideoTags().source_uri
        if name != "frames.mkv":
            assert marking["title"] == ODD.title
            assert marking["creator"] == ODD.artist
            assert marking["rights"] == ODD.copyright
            assert marking["description"] == "waves rise and fall"
            assert (marking["item_id"], marking["key"]) == (ODD.item_id, ODD.key)


def test_marking_can_be_switched_off() -> None:
    clip = encode_clip(FRAMES, EncodeSettings(archive=True, mark_ai=False), VideoTags(title="Boat"))
    assert all(read_marking(data, name) == {} for name, data in clip.files.items())
    assert all(b"trainedAlgorithmicMedia" not in data for data in clip.files.values())
    with av.open(io.BytesIO(clip.files["video.mp4"])) as container:
        assert container.metadata["title"] == "Boat"
        assert "comment" not in container.metadata
    assert clip.info["marked_ai"] is False


def test_container_tags_survive_in_mp4_and_mkv() -> None:
    clip = encode_clip(FRAMES, EncodeSettings(archive=True), ODD)
    for name in ("video.mp4", "frames.mkv"):
        with av.open(io.BytesIO(clip.files[name])) as container:
            tags = {key.lower(): text for key, text in container.metadata.items()}
        assert tags["title"] == ODD.title
        assert tags["artist"] == ODD.artist
        assert tags["copyright"] == ODD.copyright
        assert tags["description"] == "waves rise and fall"
        assert tags["date"] == "1831"
        assert tags["comment"].startswith("AI-generated animation of a painting [epa item=../../")
        assert f"key={ODD.key} config={ODD.config}]" in tags["comment"]


def test_an_own_comment_stays() -> None:
    tags = VideoTags(comment="For the autumn show")
    assert container_metadata(tags, mark_ai=True) == {"comment": "For the autumn show"}
    assert container_metadata(VideoTags(), mark_ai=False) == {}


def test_the_uuid_box_closes_the_mp4_and_players_skip_it() -> None:
    data = encode_clip(FRAMES, EncodeSettings(), VideoTags()).files["video.mp4"]
    boxes = list(mp4_boxes(data))
    kind, body = boxes[-1]
    assert kind == b"uuid"
    assert body[:16].hex() == "be7acfcb97a942e89c71999491e3afac"
    assert body[16:] == xmp_packet(VideoTags())
    with av.open(io.BytesIO(data)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="needs exiftool")
def test_exiftool_reads_it() -> None:
    clip = encode_clip(FRAMES, EncodeSettings(), ODD)
    for data in clip.files.values():
        command = ["exiftool", "-s3", "-XMP-iptcExt:DigitalSourceType", "-"]
        result = subprocess.run(command, input=data, capture_output=True, check=True)
        assert b"rained" in result.stdout


def xmp_values(packet: bytes) -> dict[str, str]:
    """Read the packet with a real XML parser."""
    root = ET.fromstring(packet.decode("utf-8").lstrip("\ufeff"))
    description = root[0][0]
    values = {key.split("}")[1]: text for key, text in description.attrib.items()}
    for element in description:
        item = element[0][0]
        values[element.tag.split("}")[1]] = item.text or ""
    return values


texts = st.text(st.characters(codec=None), max_size=60)


@given(texts, texts, texts)
def test_any_text_gives_well_formed_xmp(title: str, artist: str, item_id: str) -> None:
    tags = VideoTags(title=title, artist=artist, item_id=item_id)
    packet = xmp_packet(tags)
    values = xmp_values(packet)
    assert values["DigitalSourceType"] == VideoTags().source_uri
    cleaned = clean_tags(tags)
    assert values.get("title", "") == cleaned.get("title", "")
    assert values.get("creator", "") == cleaned.get("artist", "")
    assert values.get("item_id", "") == cleaned.get("item_id", "")
    box = append_xmp_box(b"\0\0\0\x08free", packet)
    marking = read_marking(box, "video.mp4")
    assert marking.get("title", "") == cleaned.get("title", "")
    assert marking.get("item_id", "") == cleaned.get("item_id", "")


@given(st.text(st.characters(codec=None)), st.integers(1, 50))
def test_clean_text(text: str, limit: int) -> None:
    line = clean_text(text, limit)
    assert len(line) <= limit
    assert line == line.strip()
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e]", line)
    assert all(unicodedata.category(c) not in {"Cc", "Cs"} for c in line)
    line.encode("utf-8")
    assert clean_text(line, limit) == line


def test_long_text_is_cut_and_still_fits_a_jpeg() -> None:
    assert clean_text("word " * 5000, 100) == ("word " * 20)[:99] + "…"
    assert clean_text("👩‍🎨 paints", 50) == "👩‍🎨 paints"  # joined emoji stay joined
    long = "&" * 100_000  # grows most when escaped
    tags = VideoTags(*([long] * 9))
    assert all(len(text) <= MAX_LENGTH[name] for name, text in clean_tags(tags).items())
    clip = encode_clip(FRAMES, EncodeSettings(archive=True), tags)
    assert read_marking(clip.files["poster.jpg"], "poster.jpg")["title"].startswith("&&&")


def test_boxes_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValueError, match="box"):
        list(mp4_boxes(b"\0\0\0\xffmoov"))


def test_tags_do_not_touch_the_pictures() -> None:
    plain = encode_clip(FRAMES, EncodeSettings(), VideoTags())
    tagged = encode_clip(FRAMES, EncodeSettings(), replace(ODD, description="x" * 4000))
    mdat = [dict(mp4_boxes(clip.files["video.mp4"]))[b"mdat"] for clip in (plain, tagged)]
    assert mdat[0] == mdat[1]


def test_a_formula_is_not_declared_a_trained_model() -> None:
    tags = VideoTags(source_type="algorithmicMedia")
    frames = np.full((2, 32, 32, 3), 90, np.uint8)
    clip = encode_clip(frames, EncodeSettings(), tags)
    for name, data in clip.files.items():
        assert read_marking(data, name)["digital_source_type"].endswith("/algorithmicMedia")
    with pytest.raises(ValueError, match="source_type"):
        VideoTags(source_type="photograph")
