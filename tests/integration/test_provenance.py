"""Real videos with both labels: written while encoding, read back by PyAV, by C2PA's own reader and by `inspect`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import c2pa
import numpy as np
import pytest
from certificate_maker import OWNER, make_certificate
from hypothesis import given
from hypothesis import strategies as st
from media_maker import make_sound, make_video, read_number, tone
from web_server import web_server

from duikou import digests
from duikou.cli import main
from duikou.errors import InputError, MediaError, StorageError
from duikou.media import decode
from duikou.media.encode import Finish, Quality, VideoWriter
from duikou.media.sound import Audio
from duikou.media.video import Video, probe_video
from duikou.provenance import certificates, credentials, label
from duikou.provenance.certificates import Certificate, self_signed
from duikou.provenance.credentials import Action, Edit, Source
from duikou.provenance.label import Label
from duikou.timebase import Interval

FACES = (("0", Interval(200, 800)), ("1", Interval(0, 400)))
LABEL = Label.first("duikou", "task-7")
FASTEST = Quality(17, "ultrafast")
OFFLINE = {"verify": {"remote_manifest_fetch": False}}
LARGE_MB = 100
SIGNED_IN_MB = 16  # growth of a process that signs; hashing block by block took 1 to 5


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed(tmp_path_factory.mktemp("own"))


def write(
    output: Path,
    source: Path,
    certificate: Certificate,
    *,
    marked: bool = False,
    tag: str = LABEL.tags["AIGC"],
    title: str = "",
) -> Path:
    """A labelled, signed copy of `source`, as the pipeline makes it."""
    edit = Edit(source, digests.sha256(source), FACES, marked)

    def seal(part: Path, sealed: Path) -> None:
        credentials.sign(part, sealed, title=title or output.name, edit=edit, certificate=certificate)

    sound = Audio(tone(440, 1_000), 48_000)
    with VideoWriter(output, Video.open(source), sound, quality=FASTEST, finish=Finish({"AIGC": tag}, seal)) as writer:
        for frame in decode.frames(source):
            writer.copy(frame)
    return output


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("private-folder") / "clip.mp4", sound=tone(220, 1_000))


@pytest.fixture(scope="module")
def result(source: Path, certificate: Certificate) -> Path:
    return write(source.with_name("result.mp4"), source, certificate)


def boxes(content: bytes, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of what is inside each box of an mp4."""
    end = len(content) if end is None else end
    while start < end:
        size, kind, head = int.from_bytes(content[start : start + 4]), content[start + 4 : start + 8], 8
        if size == 1:
            size, head = int.from_bytes(content[start + 8 : start + 16]), 16
        yield kind, start + head, start + size
        start += size


def inside(content: bytes, *path: bytes) -> dict[bytes, tuple[int, int]]:
    """The boxes at a path, each with where its content lies."""
    start, end = 0, len(content)
    for step in path:
        start, end = {kind: (first, last) for kind, first, last in boxes(content, start, end)}[step]
        start += 4 if step == b"meta" else 0
    return {kind: (first, last) for kind, first, last in boxes(content, start, end)}


def test_pyav_reads_the_label_back(result: Path) -> None:
    with av.open(str(result)) as file:
        assert json.loads(file.metadata["AIGC"]) == LABEL.elements
    assert label.read(result) == LABEL


def test_the_label_lies_where_the_practice_guide_wants_it(result: Path) -> None:
    content = result.read_bytes()
    meta = inside(content, b"moov", b"udta", b"meta")
    keys, values = (content[slice(*meta[kind])] for kind in (b"keys", b"ilst"))
    assert keys.count(b"mdtaAIGC") == 1
    assert values.count(LABEL.tags["AIGC"].encode()) == 1
    assert content.count(b'"ContentProducer"') == 1, "a file carries one label"


def test_c2pas_own_reader_finds_file_and_signature_whole(result: Path, source: Path) -> None:
    with (
        c2pa.Context.from_dict(OFFLINE) as context,
        result.open("rb") as file,
        c2pa.Reader("video/mp4", file, context=context) as reader,
    ):
        assert reader.get_validation_state() == "Valid"
        codes = [one["code"] for one in reader.get_validation_results()["activeManifest"]["success"]]
        manifest = reader.get_active_manifest()
    assert {"claimSignature.validated", "assertion.bmffHash.match"} <= set(codes)
    assert manifest["claim_generator_info"][0]["name"] == "duikou"
    (ingredient,) = manifest["ingredients"]
    assert (ingredient["relationship"], ingredient["title"]) == ("parentOf", "clip.mp4")
    assert ingredient["instance_id"] == f"nih:sha-256;{digests.sha256(source)}"
    (actions,) = [one["data"]["actions"] for one in manifest["assertions"] if one["label"].startswith("c2pa.actions")]
    assert [action["action"] for action in actions] == ["c2pa.opened", "c2pa.edited", "c2pa.dubbed"]
    assert "ingredient" in actions[0]["parameters"]["ingredients"][0]["url"]
    assert actions[1]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    times = [change["region"][0]["time"] for change in actions[1]["changes"]]
    assert [(one["start"], one["end"]) for one in times] == [("0.200", "0.800"), ("0.000", "0.400")]
    assert all(action["softwareAgent"]["name"] == "duikou" and action["when"] for action in actions)


def test_our_own_reader_says_the_same(result: Path, source: Path) -> None:
    found = credentials.read(result)
    assert found is not None
    assert found.intact
    assert found.faults == ()
    assert found.self_signed
    assert found.source == Source("clip.mp4", digests.sha256(source))
    assert [action.name for action in found.actions] == ["c2pa.opened", "c2pa.edited", "c2pa.dubbed"]
    assert "face 0, 0.200 to 0.800 s; face 1, 0.000 to 0.400 s" in found.actions[1].description


def test_the_second_file_says_that_it_is_marked(source: Path, certificate: Certificate, tmp_path: Path) -> None:
    found = credentials.read(write(tmp_path / "marked.mp4", source, certificate, marked=True))
    assert found is not None
    assert found.actions[-1] == Action("c2pa.addedText", "A visible mark says that AI was used.", "")


def test_players_are_not_disturbed(result: Path, source: Path) -> None:
    content = result.read_bytes()
    order = [kind for kind, _, _ in boxes(content)]
    assert order.index(b"moov") < order.index(b"mdat"), "it starts to play before it is loaded"
    before, after = probe_video(source), probe_video(result)
    assert (after.width, after.height, after.frames, after.rate) == (192, 128, before.frames, before.rate)
    assert after.audio is not None
    assert np.array_equal(decode.times(result), decode.times(source))
    assert [read_number(frame.image) for frame in decode.frames(result)] == list(range(25))


def test_the_labels_change_no_frame_and_no_time(source: Path, result: Path, tmp_path: Path) -> None:
    sound = Audio(tone(440, 1_000), 48_000)
    with VideoWriter(tmp_path / "plain.mp4", Video.open(source), sound, quality=FASTEST) as writer:
        for frame in decode.frames(source):
            writer.copy(frame)
    with av.open(str(tmp_path / "plain.mp4")) as plain, av.open(str(result)) as labelled:
        ones, others = (
            [(p.stream.index, p.pts, p.dts, p.duration, bytes(p)) for p in file.demux()] for file in (plain, labelled)
        )
    assert ones == others


@pytest.mark.parametrize("where", [0.1, 0.5, 0.99])
def test_a_flipped_bit_in_the_video_is_seen(result: Path, tmp_path: Path, where: float) -> None:
    content = bytearray(result.read_bytes())
    first, last = inside(bytes(content))[b"mdat"]
    content[first + int((last - first) * where)] ^= 1
    altered = tmp_path / "altered.mp4"
    altered.write_bytes(content)
    found = credentials.read(altered)
    assert found is not None
    assert not found.intact
    assert any("mismatch" in fault for fault in found.faults)


def test_a_forged_label_is_seen(result: Path, tmp_path: Path) -> None:
    altered = tmp_path / "altered.mp4"
    altered.write_bytes(result.read_bytes().replace(b'"ProduceID":"task-7"', b'"ProduceID":"task-8"'))
    forged = label.read(altered)
    found = credentials.read(altered)
    assert forged is not None
    assert forged.produce_id == "task-8"
    assert found is not None
    assert not found.intact


def test_nothing_of_the_users_machine_is_in_the_file(result: Path, source: Path, certificate: Certificate) -> None:
    content = result.read_bytes()
    for private in (source.parent.name, certificate.chain.parent.parent.name, str(Path.home()), "BEGIN"):
        assert private.encode() not in content


def test_a_source_with_credentials_keeps_its_history(result: Path, certificate: Certificate, tmp_path: Path) -> None:
    again = write(tmp_path / "again.mp4", result, certificate)
    found = credentials.read(again)
    assert found is not None
    assert found.intact
    assert found.source == Source("result.mp4", digests.sha256(result))
    with c2pa.Context.from_dict(OFFLINE) as context, again.open("rb") as file:
        told = json.loads(c2pa.Reader("video/mp4", file, context=context).json())
    titles = {ingredient["title"] for one in told["manifests"].values() for ingredient in one["ingredients"]}
    assert titles == {"result.mp4", "clip.mp4"}


@pytest.mark.parametrize("kind", ["mov", "turned", "odd side", "cut short"])
def test_every_source_can_be_named(kind: str, certificate: Certificate, tmp_path: Path) -> None:
    match kind:
        case "mov":
            source = make_video(tmp_path / "clip.mov", codec="mpeg4", frames=5)
        case "turned":
            source = make_video(tmp_path / "clip.mp4", rotation=90, frames=5)
        case "odd side":
            source = make_video(tmp_path / "clip.mp4", size=(191, 127), pixel_format="yuv444p", frames=5)
        case _:
            source = make_video(tmp_path / "clip.mp4", frames=25, faststart=True)
            source.write_bytes(source.read_bytes()[:-40])
    found = credentials.read(write(tmp_path / "result.mp4", source, certificate))
    assert found is not None
    assert found.intact
    assert found.source == Source(source.name, digests.sha256(source))


def test_a_source_that_c2pa_cannot_read_is_named_all_the_same(
    source: Path, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise c2pa.C2paError.Other("of this file")

    monkeypatch.setattr(c2pa.Builder, "add_ingredient", refuse)
    found = credentials.read(write(tmp_path / "result.mp4", source, certificate))
    assert found is not None
    assert found.intact
    assert found.source == Source("clip.mp4", digests.sha256(source))


def test_a_source_whose_manifest_lies_elsewhere_is_not_looked_up(
    source: Path, certificate: Certificate, tmp_path: Path
) -> None:
    asked: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

    algorithm, chain, key = certificate.load()
    given = tmp_path / "given.mp4"
    action = {"action": "c2pa.created", "digitalSourceType": credentials.SYNTHETIC}
    manifest = {"assertions": [{"label": "c2pa.actions.v2", "data": {"actions": [action]}}]}
    with web_server(Elsewhere) as url:
        with (
            c2pa.Signer.from_info(c2pa.C2paSignerInfo(algorithm.encode(), chain, key, None)) as signer,
            c2pa.Context.from_dict({"verify": {"verify_after_sign": False}}) as context,
            c2pa.Builder.from_json(json.dumps(manifest), context) as builder,
        ):
            builder.set_no_embed()
            builder.set_remote_url(f"{url}/manifest")
            builder.sign_file(source, given, signer)
        assert b"/manifest" in given.read_bytes()
        assert not asked
        found = credentials.read(write(tmp_path / "result.mp4", given, certificate))
        with suppress(MediaError):
            credentials.read(given)
    assert not asked
    assert found is not None
    assert found.intact
    assert found.source == Source("given.mp4", digests.sha256(given))


def test_a_configured_certificate_signs(source: Path, tmp_path: Path) -> None:
    found = credentials.read(write(tmp_path / "result.mp4", source, make_certificate(tmp_path / "given")))
    assert found is not None
    assert found.intact
    assert (found.signer, found.self_signed) == (OWNER, False)


def test_a_self_signed_certificate_of_an_earlier_version_is_recognised(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificates, "SELF_SIGNED", "duikou self-made certificate")
    found = credentials.read(write(tmp_path / "result.mp4", source, self_signed(tmp_path / "old")))
    assert found is not None
    assert (found.intact, found.issuer, found.self_signed) == (True, "duikou self-made certificate", True)


def test_a_certificate_that_went_bad_leaves_nothing(source: Path, certificate: Certificate, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        write(tmp_path / "result.mp4", source, Certificate(tmp_path / "gone.pem", certificate.key))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_up_while_signing_is_a_storage_error(
    source: Path, result: Path, certificate: Certificate, tmp_path: Path
) -> None:
    resource = pytest.importorskip("resource", reason="this system has no limits on a process's files")
    unsigned = result.stat().st_size - len(b"".join(_manifests(result)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (unsigned + 100, hard))
    try:
        with pytest.raises(StorageError, match=r"result\.mp4 cannot be signed: "):
            write(tmp_path / "result.mp4", source, certificate)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def _manifests(path: Path) -> list[bytes]:
    content = path.read_bytes()
    return [content[first - 8 : last] for kind, first, last in boxes(content) if kind == b"uuid"]


PROGRAM = """
import resource, sys
from pathlib import Path
from duikou import digests
from duikou.provenance import credentials
from duikou.provenance.certificates import self_signed
from duikou.provenance.credentials import Edit
peaks = []
for name in sys.argv[1:]:
    video = Path(name)
    edit = Edit(video, digests.sha256(video), ())
    signed = video.with_suffix(".signed.mp4")
    credentials.sign(video, signed, title="x", edit=edit, certificate=self_signed(video.parent))
    assert credentials.read(signed).intact
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(peaks[1] - peaks[0])
"""


def test_a_large_video_is_not_held_in_memory(tmp_path: Path) -> None:
    small = make_video(tmp_path / "small.mp4", frames=5, faststart=True)
    content = small.read_bytes()
    first, last = inside(content)[b"mdat"]
    assert last == len(content)
    large = tmp_path / "large.mp4"
    size = last - first + 8 + (LARGE_MB << 20)  # of a box of samples with much behind them that no frame uses
    large.write_bytes(content[: first - 8] + size.to_bytes(4) + content[first - 4 :])
    with large.open("r+b") as file:
        file.truncate(first - 8 + size)
    told = subprocess.run([sys.executable, "-c", PROGRAM, small, large], capture_output=True, text=True, check=True)
    assert int(told.stdout) < SIGNED_IN_MB


def test_inspect_tells_both_labels(result: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["inspect", str(result)]) == 0
    lines = {line.split("  ")[0] or line.strip().split("  ")[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "AI-generated or synthesized" in lines["AIGC label"]
    assert lines["ProduceID"].split() == ["ProduceID", "task-7"]
    assert "the signature holds" in lines["Content Credentials"]
    assert "self-signed" in lines["signed by"]
    assert f"clip.mp4, SHA-256 {digests.sha256(source)}" in lines["source"]
    assert "mouths were changed" in lines["c2pa.edited"]


def test_inspect_as_json(result: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["inspect", str(result), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["aigc_label"] == LABEL.elements
    assert told["content_credentials"]["intact"] is True
    assert told["content_credentials"]["source"]["title"] == "clip.mp4"


def test_inspect_of_an_altered_file_is_not_a_success(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray(result.read_bytes())
    content[-1] ^= 1
    (tmp_path / "altered.mp4").write_bytes(content)
    assert main.run(["inspect", str(tmp_path / "altered.mp4")]) == 1
    shown = capsys.readouterr()
    assert "DOES NOT HOLD" in shown.out
    assert "altered.mp4 was altered after it was signed" in shown.err


def test_inspect_of_a_file_without_labels(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["inspect", str(source), "--json"]) == 1
    shown = capsys.readouterr()
    told = json.loads(shown.out)
    assert told == {"file": str(source), "aigc_label": None, "content_credentials": None, "copied": None}
    assert "it has neither an AIGC label nor Content Credentials" in shown.err


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("picture.png", "FILE: the file is a picture; it must be mp4 or mov."),
        ("speech.wav", "FILE: the content is wav; only mp4 and mov files are read for their origin"),
        ("absent.mp4", "FILE: there is no file"),
    ],
)
def test_inspect_of_other_files(name: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(64))
    make_sound(tmp_path / "speech.wav", tone(440, 100))
    assert main.run(["inspect", str(tmp_path / name)]) == 2
    assert sentence in capsys.readouterr().err


ACTS = "\x1b]0;owned\x07\u202e\x9b2J"
DEEP = "[" * 100_000
LABELS = {
    "acts": json.dumps({"Label": ACTS, "ContentProducer": "x\ny", "ProduceID": "z" * 100_000}),
    "surrogates": '{"Label": "\\ud800", "ContentProducer": "\\udfff", "ProduceID": "\\udfff\\ud800"}',
    "other types": json.dumps({"Label": {"a": 1}, "ContentProducer": [["b"]], "ProduceID": 1e999}),
    "deep and broken": '{"Label": ' + DEEP,
    "deep": DEEP + "]" * len(DEEP),
    "a large number": '{"Label": ' + "9" * 10_000 + "}",
    "raw": '{"Label": "1", "Label": "\x9b\x7f"}',
}


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("name", LABELS)
def test_inspect_shows_what_others_wrote_and_it_does_nothing(
    name: str, options: list[str], source: Path, certificate: Certificate, capfd: pytest.CaptureFixture[str]
) -> None:
    strange = source.with_name("strange.mp4")
    write(strange, source, certificate, tag=LABELS[name], title=f"t{ACTS}")
    assert main.run(["inspect", str(strange), *options]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert all(line.isprintable() for line in shown.out.split("\n")), ascii(shown.out)
    assert len(shown.out) < 20_000
    assert "t\\u001b]0;owned\\u0007\\u202e\\u009b2J" in shown.out
    if options:
        assert json.loads(shown.out)["content_credentials"]["title"] == f"t{ACTS}"


NAMES = (
    "signature_info claim_generator_info ingredients assertions relationship label data actions action failure "
    "description digitalSourceType activeManifest code issuer common_name title instance_id name version"
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.sampled_from(["c2pa.actions.v2", "parentOf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES.split()), inner, max_size=6),
    max_leaves=30,
)


@given(manifest=VALUES, results=VALUES, state=st.sampled_from(["Valid", "Invalid", None]))
def test_a_manifest_of_any_shape_is_read(manifest: Any, results: Any, state: Any) -> None:
    reader = SimpleNamespace(
        get_active_manifest=lambda: manifest,
        get_validation_results=lambda: results,
        get_validation_state=lambda: state,
    )
    found = credentials._credentials(reader)
    assert found.intact or found.faults
    assert all(isinstance(text, str) for text in (found.signer, found.issuer, found.generator, found.title))


@pytest.mark.parametrize("error", [RecursionError("too deep"), KeyError("active_manifest"), TypeError("x" * 10_000)])
def test_a_manifest_that_c2pas_own_reader_stumbles_over_is_one_sentence(
    error: Exception, result: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stumble(_: object) -> None:
        raise error

    monkeypatch.setattr(c2pa.Reader, "get_active_manifest", stumble)
    assert main.run(["inspect", str(result)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("duikou: FILE: the Content Credentials cannot be read (")
    assert len(said) < 300


def test_a_manifest_that_cannot_be_read_is_said(result: Path, tmp_path: Path) -> None:
    content = bytearray(result.read_bytes())
    first, _ = inside(bytes(content))[b"uuid"]
    content[first + 60 : first + 90] = bytes(30)
    (tmp_path / "broken.mp4").write_bytes(content)
    with pytest.raises(MediaError, match="Content Credentials cannot be read"):
        credentials.read(tmp_path / "broken.mp4")


def test_times_of_a_coarse_clock_survive_signing(certificate: Certificate, tmp_path: Path) -> None:
    source = make_video(tmp_path / "clip.mp4", fps=Fraction(30_000, 1_001), time_base=Fraction(1, 30_000), frames=10)
    result = write(tmp_path / "result.mp4", source, certificate)
    assert np.array_equal(decode.times(result), decode.times(source))
