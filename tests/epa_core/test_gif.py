"""GIF: every frame is there, shown for the right time, in colours that hold; same bytes again."""

import io
from dataclasses import replace

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from epa_core.errors import ItemError
from epa_core.media import video
from epa_core.media.gif import check_gif, encode_gif
from epa_core.media.video import EncodeSettings, VideoTags, encode_clip

Frames = NDArray[np.uint8]
PLAIN = EncodeSettings(gif=True)


def sky(count: int, height: int, width: int) -> Frames:
    """A smooth sky and a bright disc that wanders to the right, uint8 [count, height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    frames = []
    for index in range(count):
        disc = 90 * np.exp(-((x - width / 4 - 2 * index) ** 2 + (y - height / 2) ** 2) / 120)
        red, green = 200 - 90 * y / height + disc / 2, 110 + 40 * x / width + disc
        frames.append(np.stack([red, green, 90 + 100 * y / height], axis=-1))
    return np.asarray(np.clip(np.rint(frames), 0, 255), np.uint8)


def opened(data: bytes) -> tuple[Frames, list[int], Image.Image]:
    """Frames, delays in ms, and the open file, as Pillow reads it."""
    gif = Image.open(io.BytesIO(data))
    frames, delays = [], []
    for index in range(getattr(gif, "n_frames", 1)):
        gif.seek(index)
        frames.append(np.asarray(gif.convert("RGB")))
        delays.append(gif.info["duration"])
    return np.stack(frames), delays, gif


def test_a_gif_beside_the_other_files_on_request() -> None:
    frames = sky(16, 64, 96)
    clip = encode_clip(frames, PLAIN, VideoTags())
    assert sorted(clip.files) == ["poster.jpg", "preview.webp", "video.gif", "video.mp4"]
    back, delays, gif = opened(clip.files["video.gif"])
    assert back.shape == frames.shape
    assert gif.info["loop"] == 0
    assert sum(delays) == 2000
    without = encode_clip(frames, replace(PLAIN, gif=False), VideoTags())
    assert {n: d for n, d in clip.files.items() if n != "video.gif"} == without.files
    assert clip.info == without.info


@pytest.mark.parametrize("fps", [1, 7, 8, 12, 24, 25, 30, 50])
def test_every_frame_starts_within_half_a_hundredth_of_its_time(fps: int) -> None:
    data = encode_gif(sky(16, 16, 24), fps)
    _, delays, _ = opened(data)
    starts = np.cumsum([0, *delays])
    assert np.abs(starts - 1000 * np.arange(17) / fps).max() <= 5
    with av.open(io.BytesIO(data)) as container:  # another reader finds the same times
        times = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(times, starts[:-1] / 1000, atol=1e-9)


def test_eight_fps_lasts_as_long_as_the_mp4() -> None:
    assert set(opened(encode_gif(sky(16, 16, 24), 8))[1]) == {120, 130}


@pytest.mark.parametrize("fps", [51, 60, 240])
def test_no_delay_that_browsers_take_for_a_mistake(fps: int) -> None:
    assert set(opened(encode_gif(sky(9, 16, 24), fps))[1]) == {20}


def test_a_smooth_sky_keeps_its_colours_and_does_not_flicker() -> None:
    frames = sky(8, 96, 128)
    back = opened(encode_gif(frames, 8))[0]

    def means(clip: Frames) -> NDArray[np.float64]:
        return clip.reshape(8, 12, 8, 16, 8, 3).mean(axis=(2, 4))

    error = means(back) - means(frames)
    assert np.abs(error).mean() < 1  # banding without dither: about 2
    still = error[:, :, 12:]  # where nothing moves
    assert np.abs(np.diff(still, axis=0)).max() < 2


def test_a_colour_that_only_one_frame_has_is_in_the_palette() -> None:
    frames = np.full((60, 32, 32, 3), 40, np.uint8)
    frames[37] = (255, 0, 0)
    back = opened(encode_gif(frames, 8))[0]
    assert np.abs(back[37].astype(int) - frames[37]).max() <= 2
    assert np.abs(back[36].astype(int) - frames[36]).max() <= 2


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 16, 16), (3, 33, 64), (2, 17, 15)])
def test_odd_tiny_and_single_have_the_geometry_of_the_mp4(shape: tuple[int, int, int]) -> None:
    clip = encode_clip(sky(*shape), PLAIN, VideoTags())
    back = opened(clip.files["video.gif"])[0]
    assert back.shape[:3] == (shape[0], clip.info["height"], clip.info["width"])


@pytest.mark.parametrize("level", [0, 255])
def test_still_clips_keep_all_frames(level: int) -> None:
    frames = np.full((5, 32, 32, 3), level, np.uint8)
    back, delays, _ = opened(encode_clip(frames, PLAIN, VideoTags()).files["video.gif"])
    assert np.array_equal(back, frames)
    assert len(delays) == 5


def test_noise_passes_the_check() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 48, 64, 3), dtype=np.uint8)
    assert len(opened(encode_clip(frames, PLAIN, VideoTags()).files["video.gif"])[0]) == 4


def test_loops_are_in_the_gif_too() -> None:
    clip = encode_clip(sky(16, 32, 32), replace(PLAIN, loop="ping-pong"), VideoTags())
    assert len(opened(clip.files["video.gif"])[0]) == 30


def test_same_frames_same_bytes() -> None:
    frames = sky(6, 48, 64)
    padded = np.zeros((6, 48, 80, 3), np.uint8)
    padded[:, :, :64] = frames
    assert encode_gif(frames, 8, b"<x/>") == encode_gif(padded[:, :, :64], 8, b"<x/>")


def test_the_marking_lies_in_the_file_where_xmp_readers_look() -> None:
    tags = VideoTags(title="Bäume & <Boote>")
    marked = encode_clip(sky(3, 32, 32), PLAIN, tags).files["video.gif"]
    head = marked.index(b"\x21\xff\x0bXMP DataXMP") + 14
    end = marked.index(b'<?xpacket end="r"?>', head)
    packet = marked[head:end].decode("utf-8")
    assert "digitalsourcetype/trainedAlgorithmicMedia" in packet
    assert "Bäume &amp; &lt;Boote&gt;" in packet
    # Readers that know no XMP step over it block by block: wherever they stand, they get out.
    position = head
    while marked[position]:
        position += marked[position] + 1
    assert marked[position + 1 :] == b";"
    plain = encode_clip(sky(3, 32, 32), replace(PLAIN, mark_ai=False), tags).files["video.gif"]
    assert b"XMP" not in plain
    assert np.array_equal(opened(plain)[0], opened(marked)[0])


def test_the_check_notices_a_wrong_file(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = sky(4, 32, 48)
    other = frames.copy()
    other[3] = 255 - other[3]
    once = encode_gif(frames, 8).replace(
        b"NETSCAPE2.0\x03\x01\x00\x00", b"NETSCAPE2.0\x03\x01\x01\x00"
    )
    wrong = {
        "3, 48, 32": encode_gif(frames[:-1], 8),
        "4, 46, 32": encode_gif(frames[:, :, :46], 8),
        "lasts": encode_gif(frames, 9),
        "frame 3 .* off by": encode_gif(other, 8),
        "for ever": once,
        "truncated|cut|frame": encode_gif(frames, 8)[:1500],
    }
    for what, written in wrong.items():
        with pytest.raises((ValueError, OSError), match=what):
            check_gif(written, frames, 8)
        monkeypatch.setattr(video, "encode_gif", lambda *_, written=written: written)
        with pytest.raises(ItemError) as caught:
            encode_clip(frames, PLAIN, VideoTags())
        assert caught.value.code == "encode_failed"
