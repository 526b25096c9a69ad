from pathlib import Path

import numpy as np
import pytest
from media_maker import make_sound, make_video, tone
from sound_maker import ID3V1, LYRICS, ape, encode, id3, layer_one, picture, text

from duikou.errors import MediaError
from duikou.media import elementary, sniff
from duikou.media.audio import read_audio


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


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, np.ndarray]]:
    """An mp3 and an aac file without tags, and their samples."""
    folder, made = tmp_path_factory.mktemp("clean"), {}
    for suffix in ("mp3", "aac"):
        path = make_sound(folder / f"a.{suffix}", tone(440, 300))
        data = path.read_bytes()
        path.write_bytes(data[data.index(b"\xff\xfb") :] if suffix == "mp3" else data)
        made[suffix] = path.read_bytes(), read_audio(path).samples
    return made


COVER = picture(60_000)
NOISE = np.random.default_rng(4).bytes(200_000)
IN_FRONT = {
    "a tag": id3(text(500)),
    "two tags": id3(text(500)) + id3(text(900)),
    "tags of three versions": id3(b"TT2\0\0\5\0abcd", version=2) + id3(text(50)) + id3(text(9, version=4), version=4),
    "a tag with a footer": id3(text(50, version=4), version=4, flags=0x10) + b"3DI\4\0\x10\0\0\0\x3f",
    "a footer that no flag tells": id3(text(50, version=4), version=4) + b"3DI\4\0\0\0\0\0\x3f",
    "a tag with a cover": id3(COVER),
    "padding inside a tag": id3(text(500) + bytes(2_000)),
    "padding behind a tag": id3(text(500)) + bytes(100_000),
    "padding alone": bytes(100_000),
    "an APE tag": ape(NOISE[:3_000]),
    "an APE tag and an ID3 tag": ape(NOISE[:300]) + id3(text(50)),
    "an ID3 tag and an APE tag": id3(text(50)) + ape(NOISE[:300]),
    "ID3v1": ID3V1,
    "lyrics": LYRICS,
    "lyrics and ID3v1": LYRICS + ID3V1,
    "a size that is too small": id3(text(900), size=100),
    "a size of 0": id3(COVER, size=0),
    "a size that reaches into the sound": id3(text(900), size=1_500),
    "a size that reaches beyond the file": id3(text(900), size=0x0FFFFFFF),
    "a size of 8 bits a byte": id3(COVER, plain=True),
    "a size that is too small before another tag": id3(COVER, size=500) + id3(text(50)),
    "what a server says before a stream": b"ICY 200 OK\r\nicy-name: radio\r\n\r\n",
    "a RIFF header without chunks": b"RIFF\0\0\0\0RMP3data\0\0\0\0",
    "noise": NOISE,
    "a tag and noise": id3(text(50)) + NOISE[:3_000],
    "ones": b"\xff" * 3_000,
    "letters": b"LAME3.100" * 40,
}


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
@pytest.mark.parametrize("name", IN_FRONT)
def test_what_stands_in_front_of_sound_is_skipped(
    tmp_path: Path, clean: dict[str, tuple[bytes, np.ndarray]], name: str, suffix: str
) -> None:
    data, samples = clean[suffix]
    path = write(tmp_path, IN_FRONT[name] + data)
    assert sniff.describe(path) == (suffix, f"{suffix} audio", len(IN_FRONT[name]))
    np.testing.assert_array_equal(read_audio(path).samples, samples)


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
@pytest.mark.parametrize("behind", [ID3V1, LYRICS.replace(b"26LYR", b"29LYR") + ID3V1, ape(NOISE), id3(COVER)])
def test_what_stands_behind_sound_is_no_sound(
    tmp_path: Path, clean: dict[str, tuple[bytes, np.ndarray]], behind: bytes, suffix: str
) -> None:
    data, samples = clean[suffix]
    found = read_audio(write(tmp_path, data + behind)).samples
    assert 0 <= len(found) - len(samples) < 1_800  # the header of an mp3 says how long its padding is for its own size
    np.testing.assert_array_equal(found[: len(samples)], samples)
    assert np.abs(found[len(samples) :]).max(initial=0) < 0.01


@pytest.mark.parametrize("cut", [1, 250, 1_000])
def test_an_mp3_cut_in_the_middle_of_a_frame(
    tmp_path: Path, clean: dict[str, tuple[bytes, np.ndarray]], cut: int
) -> None:
    data, samples = clean["mp3"]
    found = read_audio(write(tmp_path, data[cut:])).samples
    frames = -(-cut // (elementary.header(data) or data).size)  # type: ignore[union-attr]
    late = (
        frames * 1_152 - 1_152 - 1_105
    )  # its first frame holds no sound, and the encoder's delay is not known any more
    begin = 3 * 1_152  # the first frames lack what lay in those before them
    count = min(len(found) - begin, len(samples) - late - begin)
    assert count > 1_000
    np.testing.assert_array_equal(found[begin : begin + count], samples[late + begin :][:count])


def test_the_search_for_sound_has_a_bound(tmp_path: Path, clean: dict[str, tuple[bytes, np.ndarray]]) -> None:
    for size, taken in ((sniff.SEARCHED_BYTES, True), (sniff.SEARCHED_BYTES + 5, False)):
        path = write(tmp_path, b"\x80" * size + clean["mp3"][0])
        if taken:
            assert sniff.container(path) == "mp3"
            continue
        with pytest.raises(MediaError, match=r"is not an mp4.* file: no sound begins in its first 1 MiB\.$"):
            sniff.container(path)


@pytest.mark.parametrize("suffix", ["mp3", "aac"])
@pytest.mark.parametrize("tag", [b"", id3(text(50)), bytes(64), NOISE[:100]], ids=["first", "tag", "zeros", "noise"])
@pytest.mark.parametrize(
    ("front", "what"),
    [
        (b"ffconcat version 1.0\nfile secret.mp4\n", "a playlist"),
        (b"FFCONCAT version 1.0\nfile secret.mp4\n", "a playlist"),
        ("ffconcat version 1.0\nfile secret.mp4\n".encode("utf-16"), "a playlist"),
        (b"#EXTM3U\n#EXTINF:5,\nhttp://10.0.0.1/secret.ts\n", "a playlist"),
        (b"[playlist]\nFile1=secret.mp3\n", "a playlist"),
        (b"<!DOCTYPE html><p>" + bytes(100), "a web page"),
        (b"<script>fetch('/')</script>", "a web page"),
        (b"PK\3\4" + NOISE[:500], "a zip archive"),
        (b"%PDF-1.7\n" + NOISE[:500], "a PDF document"),
    ],
)
def test_sound_behind_another_file_is_not_taken(
    tmp_path: Path, clean: dict[str, tuple[bytes, np.ndarray]], front: bytes, what: str, tag: bytes, suffix: str
) -> None:
    with pytest.raises(MediaError) as caught:
        sniff.container(write(tmp_path, tag + front + clean[suffix][0]), formats=sniff.AUDIO_FORMATS)
    said = (what, f"{what} with sound behind it")
    assert caught.value.reason in [f"the file is {one}; it must be mp3, wav, m4a or aac." for one in said]


@pytest.mark.parametrize(
    ("front", "what"),
    [
        (b"file 'secret.mp4'\nduration 3\n", "a text file with sound behind it"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\n", "a text file with sound behind it"),
        (b"#!/bin/sh\nrm -rf /\n", "a text file with sound behind it"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF" + NOISE[:500], "a picture"),
        (b"\x89PNG\r\n\x1a\n" + NOISE[:500], "a picture"),
        (b"\x1aE\xdf\xa3" + NOISE[:500], "a Matroska or WebM video"),
        (b"OggS\0\2" + NOISE[:500], "Ogg audio"),
        (b"RIFF\0\0\0\0CDXA" + NOISE[:500], "a RIFF file, but no wav"),
        (b"FORM\0\0\0\0AIFF" + NOISE[:500], "AIFF audio"),
        ((b"G" + bytes(187)) * 4, "an MPEG transport stream video"),
        (b"MZ\x90\0" + NOISE[:500], "a program"),
    ],
)
def test_other_files_are_named_even_with_sound_in_them(
    tmp_path: Path, clean: dict[str, tuple[bytes, np.ndarray]], front: bytes, what: str
) -> None:
    for sound in ("mp3", "aac"):
        assert sniff.describe(write(tmp_path, front + clean[sound][0])) == (None, what, 0)


def test_sound_that_is_not_read_is_named(tmp_path: Path) -> None:
    free = b"\xff\xfb\x00\xc0" + bytes(413)
    for content, what in (
        (free * 10, "MPEG audio of free format, which states no bit rate"),
        (id3(text(50)) + free * 10, "MPEG audio of free format, which states no bit rate"),
        ((b"\x56\xe0\x40" + bytes(64)) * 10, "LATM AAC audio"),
        (NOISE[:50] + (b"\x56\xe0\x40" + bytes(64)) * 10, "LATM AAC audio"),
        (b"ADIF" + NOISE[:100], "ADIF AAC audio"),
        (id3(text(50)) + b"fLaC" + NOISE[:100], "FLAC audio"),
        (id3(text(50)) + box(b"ftyp", b"isom" + bytes(4)), "an mp4 or mov behind a tag that it must not have"),
    ):
        assert sniff.describe(write(tmp_path, content)) == (None, what, 0)


def test_all_three_layers_and_a_wav_behind_a_tag_are_taken(tmp_path: Path) -> None:
    assert sniff.container(write(tmp_path, layer_one(10))) == "mp3"
    for name, codec, container in (
        ("a.mp3", "mp2", "mp2"),
        ("a.wav", "libmp3lame", "wav"),
        ("b.wav", "pcm_s16le", "wav"),
    ):
        path = encode(tmp_path / name, tone(440, 300), 48_000, codec, container=container)
        samples = read_audio(path).samples
        path.write_bytes(id3(text(500)) + path.read_bytes())
        assert sniff.container(path) == name[2:]
        np.testing.assert_array_equal(read_audio(path).samples, samples)


def test_bytes_that_look_like_frames_cost_little(tmp_path: Path) -> None:
    # Every fourth byte is a good header, none of whose frames is followed by another one.
    path = write(tmp_path, b"\xff\xfb\x90\x00" * (sniff.SEARCHED_BYTES // 16))
    assert sniff.describe(path).container is None
