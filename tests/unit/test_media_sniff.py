from pathlib import Path

import numpy as np
import pytest
from media_maker import make_sound, make_video, tone

from duikou.errors import MediaError
from duikou.media import sniff


def write(folder: Path, content: bytes, name: str = "file.mp4") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def box(kind: bytes, content: bytes = b"") -> bytes:
    return (8 + len(content)).to_bytes(4, "big") + kind + content


@pytest.mark.parametrize(
    ("brand", "name"),
    [(b"isom", "mp4"), (b"mp42", "mp4"), (b"iso6", "mp4"), (b"qt  ", "mov"), (b"M4A ", "m4a"), (b"M4B ", "m4a")],
)
def test_iso_files_are_told_apart_by_their_brand(tmp_path: Path, brand: bytes, name: str) -> None:
    assert sniff.container(write(tmp_path, box(b"ftyp", brand + bytes(4)))) == name


def test_a_quicktime_file_from_before_brands_is_mov(tmp_path: Path) -> None:
    assert sniff.container(write(tmp_path, box(b"wide") + box(b"mdat", bytes(100)))) == "mov"


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a", "aac"])
def test_the_content_decides_and_not_the_name(tmp_path: Path, suffix: str) -> None:
    path = make_sound(tmp_path / f"sound.{suffix}", tone(440, 300))
    assert sniff.container(path.rename(tmp_path / "video.mp4")) == suffix


def test_made_videos_are_known(tmp_path: Path) -> None:
    assert sniff.container(make_video(tmp_path / "a.mp4", frames=2)) == "mp4"
    assert sniff.container(make_video(tmp_path / "a.mov", frames=2)) == "mov"


def test_a_long_id3_tag_is_skipped(tmp_path: Path) -> None:
    plain = make_sound(tmp_path / "sound.aac", tone(440, 300)).read_bytes()
    size = 300_000  # a cover picture
    header = b"ID3\x04\x00\x00" + bytes([size >> 21 & 127, size >> 14 & 127, size >> 7 & 127, size & 127])
    assert sniff.container(write(tmp_path, header + bytes(size) + plain)) == "aac"


@pytest.mark.parametrize(
    "content",
    [
        b"ffconcat version 1.0\nfile secret.mp4\n",
        b"#EXTM3U\n#EXTINF:5,\nsecret.mp4\n",
        b"<?xml version='1.0'?><MPD></MPD>",
        b"\x1a\x45\xdf\xa3" + bytes(100),  # Matroska
        b"RIFF\x00\x00\x00\x00AVI LIST",
        b"OggS" + bytes(100),
        b"fLaC" + bytes(100),
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        box(b"ftyp", b"heic" + bytes(4)),
        b"\xff\xfb\x90\x00" + b"this is no second frame" * 100,
        b"\xff\xff\xff\xff" * 100,
        b"\0" * 1000,
        b"no",
    ],
)
def test_everything_else_is_refused(tmp_path: Path, content: bytes) -> None:
    sentence = r"^video_url: the (content is not an|file is .*; it must be) mp4, mov, mp3, wav, m4a or aac( file)?\.$"
    with pytest.raises(MediaError, match=sentence) as e:
        sniff.container(write(tmp_path, content), field="video_url")
    assert e.value.field == "video_url"


def test_empty_and_missing_files_say_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="the content is empty"):
        sniff.container(write(tmp_path, b""))
    with pytest.raises(MediaError, match="cannot be read"):
        sniff.container(tmp_path / "nothing.mp4")


def test_random_bytes_never_crash(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    for prefix in (b"", b"ID3", b"\xff\xfb", b"\xff\xf1", b"RIFF"):
        for size in (1, 3, 9, 40):
            path = write(tmp_path, prefix + random.bytes(size))
            try:
                assert sniff.container(path) in sniff.DEMUXERS
            except MediaError:
                continue


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "the file is a picture; it must be mp4 or mov."),
        (box(b"ftyp", b"heic" + bytes(4)), "the file is a picture; it must be mp4 or mov."),
        (b"\x1aE\xdf\xa3" + bytes(100), "the file is a Matroska or WebM video; it must be mp4 or mov."),
        (b"RIFF\0\0\0\0AVI " + bytes(100), "the file is an AVI video; it must be mp4 or mov."),
        (b"OggS" + bytes(100), "the file is Ogg audio; it must be mp4 or mov."),
        (b"junk" * 100, "the content is not an mp4 or mov file."),
    ],
)
def test_well_known_files_are_named_and_only_fitting_formats_listed(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    with pytest.raises(MediaError) as caught:
        sniff.container(write(tmp_path, content), formats=sniff.VIDEO_FORMATS)
    assert caught.value.reason == sentence


def test_a_file_in_words(tmp_path: Path) -> None:
    for content, container, words in (
        (b"RIFF\0\0\0\0WAVE", "wav", "wav audio"),
        (box(b"ftyp", b"isom" + bytes(4)), "mp4", "a video"),
        (b"\xff\xd8\xff", None, "a picture"),
        (b"junk", None, "of an unknown kind"),
        (b"", None, "empty"),
    ):
        assert sniff.describe(write(tmp_path, content)) == (container, words, 0)
