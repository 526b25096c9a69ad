"""The main job on real clips: the three calls over HTTP, and the result measured as a stranger would measure it."""

from __future__ import annotations

import base64
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import live_server
import numpy as np
import pytest
from live_server import in_thread, sources
from scipy.signal import correlate
from server_settings import settings

from duikou import identify
from duikou.faces import pose
from duikou.faces.follow import follow
from duikou.faces.smooth import smooth
from duikou.media import decode
from duikou.media.audio import read_audio
from duikou.media.sound import Audio
from duikou.media.video import Video, probe_video
from duikou.pipeline.plan import EASE_MS
from duikou.render import mesh
from duikou.speech.articulation import articulate
from duikou.speech.motion import CURVES
from duikou.workers.work import Work

MEDIA = Path(__file__).parents[2].parent / "shared" / "media"
INSERT_MS = 1500
SPEECH_MS = 3000
MAX_OFFSET_MS = 5
MIN_R = 0.9
RATE = 16_000
WAIT_S = 900
MAX_RSS_MB = 900
RATE_OF_MINUTE = 12  # frames per second

pytestmark = [
    pytest.mark.long,
    pytest.mark.media,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not MEDIA.is_dir(), reason="../shared/media is not there"),
]

CLIPS = {
    "talking_zh": "zh_22s.wav",
    "talking_glasses": "en_18s.mp3",
    "closed_mouth_silent": "en_60s.wav",
    "idle_silent": "zh_news.wav",
    "portrait_hevc_small_face": "de.wav",
}


@dataclass(frozen=True)
class Job:
    """One finished job. start_ms: of the part of the sound that was used."""

    source: Path
    sound: Path
    result: Path
    start_ms: int
    end_ms: int

    def speech(self) -> Audio:
        return read_audio(self.sound, start_ms=self.start_ms, end_ms=self.end_ms, rate=RATE, channels=1)


@pytest.fixture(scope="module", params=CLIPS)
def job(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """Identify, create and query over HTTP with real workers; every answer is checked against the contract."""
    folder = tmp_path_factory.mktemp("job")
    source, sound = MEDIA / "video" / f"{request.param}.mp4", MEDIA / "speech" / CLIPS[request.param]
    start_ms = 1000
    end_ms = start_ms + SPEECH_MS
    result = folder / "result.mp4"
    with (
        sources(**{f"{request.param}__mp4": source.read_bytes()}) as address,
        in_thread(settings(folder / "data", any_size=True), Work()) as client,
    ):
        client.timeout = WAIT_S
        session = live_server.identify(client, f"{address}/{source.name}")
        assert client.get(session["face_data"][0]["face_image"]).headers["content-type"] == "image/jpeg"
        speech = base64.b64encode(sound.read_bytes()).decode()
        choice = {
            "face_id": session["face_data"][0]["face_id"],
            "sound_file": speech,
            "sound_start_time": start_ms,
            "sound_end_time": end_ms,
            "sound_insert_time": INSERT_MS,
            "original_audio_volume": 0,
        }
        body = {"session_id": session["session_id"], "face_choose": [choice]}
        state = live_server.ended(client, live_server.create(client, body), WAIT_S)
        assert state["task_status"] == "succeed", state
        video = client.get(state["task_result"]["videos"][0]["url"])
        assert video.headers["content-type"] == "video/mp4"
        result.write_bytes(video.content)
    return Job(source, sound, result, start_ms, end_ms)


def test_frames_size_and_times_are_the_sources(job: Job) -> None:
    before, after = probe_video(job.source), probe_video(job.result)
    assert (after.width, after.height, after.frames) == (before.width, before.height, before.frames)
    assert np.array_equal(decode.times(job.result), decode.times(job.source))


def test_the_speech_is_where_it_was_inserted(job: Job) -> None:
    heard = read_audio(job.result, rate=RATE, channels=1).samples[:, 0]
    said = job.speech().samples[:, 0]
    place = int(np.argmax(correlate(heard, said, "valid", "fft"))) * 1000 / RATE
    assert abs(place - INSERT_MS) <= MAX_OFFSET_MS


def test_the_lips_follow_the_speech(job: Job) -> None:
    """The result's own lip gap, found and measured anew, against the gap that the speech asks for."""
    speech = job.speech()
    motion = articulate(speech.samples[:, 0], RATE).shifted(INSERT_MS / 1000)
    session = identify(job.result)
    track = smooth(follow(Video.open(job.result), session.faces[0]))
    shapes = pose.to_canonical(track.landmarks, pose.fit(track.landmarks)).astype(np.float64)
    wanted = motion.at(track.times_ms / 1000)[:, CURVES.index("gap")]
    inside = (track.times_ms > INSERT_MS + EASE_MS) & (track.times_ms < INSERT_MS + SPEECH_MS - EASE_MS)
    r = np.corrcoef(mesh.lip_gap(shapes)[inside], wanted[inside])[0, 1]
    assert r >= MIN_R, f"r = {r:.3f} on {job.source.name}"


def test_a_minute_of_1080p_stays_within_its_memory(tmp_path: Path) -> None:
    """A real face for 60 s at 1920x1080: every second frame of five seconds, played to and fro.

    About 450 MB are usual, so no frame may leave more than 0.6 MB behind; decoded, one has 3 to 6 MB.
    """
    clip = tmp_path / "minute.mp4"
    _to_and_fro(MEDIA / "video" / "talking_zh.mp4", clip, 720)
    code = (
        "import sys; from pathlib import Path; import duikou;"
        "session = duikou.identify(sys.argv[1]);"
        "choice = duikou.FaceChoice(Path(sys.argv[2]), session.faces[0].id, trim_end_ms=59_900);"
        "print(duikou.lip_sync(session, [choice], sys.argv[3]).info.frames);"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    speech, output = MEDIA / "speech" / "en_60s.wav", tmp_path / "out.mp4"
    done = subprocess.run(
        [sys.executable, "-c", code, str(clip), str(speech), str(output)], check=True, capture_output=True, text=True
    )
    frames, peak_kb = done.stdout.split()
    assert int(frames) == 720
    assert int(peak_kb) / 1024 < MAX_RSS_MB


def _to_and_fro(source: Path, output: Path, count: int) -> None:
    """Every second frame of a clip, forwards and backwards without sound, until there are `count` of them.

    They are encoded once, and the packets repeated.
    """
    frames = [frame.image for frame in decode.frames(source)][::2]
    order = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
    with av.open(str(output), "w") as file:
        stream = file.add_stream("libx264", rate=RATE_OF_MINUTE, options={"preset": "ultrafast"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        packets = [
            packet
            for number in order
            for packet in stream.encode(av.VideoFrame.from_ndarray(frames[number], format="bgr24"))
        ]
        packets += stream.encode(None)
        assert len(packets) == len(order)
        for number in range(count):
            again = packets[number % len(order)]
            packet = av.Packet(bytes(again))
            packet.pts = packet.dts = number
            packet.duration, packet.time_base, packet.stream = 1, Fraction(1, RATE_OF_MINUTE), stream
            packet.is_keyframe = again.is_keyframe
            file.mux(packet)
