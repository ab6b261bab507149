"""What measuring costs beyond one bare decode.

    python -m benchmarks.decode_ratio FILE_OR_FOLDER... [--synthetic-1080p] [--memory]

For every readable file: CPU and wall time of a bare PyAV decode (one thread) and of measuring the
same file (one worker, everything but loading the models), in one process, one after the other. The
excess is divided by non-negative least squares over the files into milliseconds for each meshed
face and for every frame. Machines differ, and one machine from hour to hour, so both are also given
as multiples of what the networks alone cost: one call of MediaPipe's own FaceMesh and one look of
its full-range detector, on a photograph, taken after every file of the same run. ``--memory``
prints the peak memory of a worker on a source of 1, 5 and 30 minutes: it grows with the segment,
which is 2 minutes by default, and then no more.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("GLOG_minloglevel", "3")

import av
import numpy as np
from scipy.optimize import nnls

from curation.inputs import find_inputs, identify
from curation.measure import Measurer, Unit
from curation.pipeline import build_pipeline
from curation.recipe import load_recipe
from manifests.ledger import Ledger
from manifests.storage import Folder


@dataclass(frozen=True)
class Row:
    """One file: seconds of both works, frames, frames with a face."""

    name: str
    decode_cpu_s: float
    decode_wall_s: float
    measure_cpu_s: float
    measure_wall_s: float
    num_frames: int
    num_face_frames: int


def bare_decode(uri: str) -> None:
    """Decode all frames with one thread and drop them; damaged packets are passed over."""
    with av.open(f"file:{uri}") as container:
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        for packet in container.demux(stream):
            with contextlib.suppress(av.FFmpegError):
                packet.decode()


class Networks:
    """MediaPipe's own wrappers, called on a photograph: what the networks alone cost."""

    NUM_MESHES, NUM_LOOKS = 8, 2

    def __init__(self) -> None:
        import mediapipe
        import skimage.data

        solutions = mediapipe.solutions
        self._mesh = solutions.face_mesh.FaceMesh(refine_landmarks=True)
        self._look = solutions.face_detection.FaceDetection(model_selection=1)
        picture = skimage.data.astronaut()
        self._crop = np.ascontiguousarray(picture[:256, 96:352])
        self._picture = np.ascontiguousarray(picture[::2, ::2])
        self._mesh_cpu_s: list[float] = []
        self._look_cpu_s: list[float] = []
        self.time()
        self._mesh_cpu_s, self._look_cpu_s = [], []

    def time(self) -> None:
        """Call both a few times; the first call after other work is not counted."""
        found = self._mesh.process(self._crop).multi_face_landmarks
        assert found, "the face of the photograph was not found"
        for _ in range(self.NUM_MESHES):
            self._mesh_cpu_s.append(times(lambda: self._mesh.process(self._crop))[0])
        for _ in range(self.NUM_LOOKS):
            self._look_cpu_s.append(times(lambda: self._look.process(self._picture))[0])

    @property
    def mesh_ms(self) -> float:
        """Mean CPU milliseconds of one mesh."""
        return 1000 * float(np.mean(self._mesh_cpu_s))

    @property
    def look_ms(self) -> float:
        """Mean CPU milliseconds of one look."""
        return 1000 * float(np.mean(self._look_cpu_s))


def times(work) -> tuple[float, float]:
    """CPU and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(uris: list[str]) -> tuple[list[Row], Networks]:
    """Time all files both ways, and the networks alone."""
    rows = []
    networks = Networks()
    with tempfile.TemporaryDirectory() as place:
        run = Folder(place)
        measurer = Measurer(run, build_pipeline(load_recipe("talking_portrait")))
        sources = identify(uris)
        measurer(Unit(sources[0], num_segments=1))  # networks warm up on their first frames
        for source in sources:
            unit = Unit(source, num_segments=1)
            measure = times(lambda unit=unit: measurer(unit))
            header = Ledger(run).read(source.source_id)[0].header
            if not header.num_frames:
                continue
            decode = times(lambda uri=source.uri: bare_decode(uri))
            networks.time()
            rows.append(
                Row(
                    Path(source.uri).name,
                    *decode,
                    *measure,
                    header.num_frames,
                    header.num_face_frames,
                )
            )
        measurer.close()
    return rows, networks


def show(title: str, rows: list[Row], networks: Networks) -> None:
    """Print ratio, excess, and the excess in calls of the networks."""
    total = {
        name: sum(getattr(row, name) for row in rows)
        for name in ("decode_cpu_s", "decode_wall_s", "measure_cpu_s", "measure_wall_s")
    }
    excess_ms = np.array([1000 * (row.measure_cpu_s - row.decode_cpu_s) for row in rows])
    counts = np.array([(row.num_face_frames, row.num_frames) for row in rows], float)
    (face_ms, frame_ms), _ = nnls(counts, excess_ms)
    print(
        f"{title}: {len(rows)} files, {int(counts[:, 1].sum())} frames, "
        f"{int(counts[:, 0].sum())} faces meshed"
    )
    print(
        f"  measure / bare decode   CPU {total['measure_cpu_s'] / total['decode_cpu_s']:.2f}   "
        f"wall {total['measure_wall_s'] / total['decode_wall_s']:.2f}"
    )
    print(
        f"  CPU beyond the decode   {face_ms + frame_ms:.2f} ms a frame with one face, "
        f"{frame_ms:.2f} ms any other (least squares)"
    )
    mesh_ms, look_ms = networks.mesh_ms, networks.look_ms
    print(
        f"  one FaceMesh call {mesh_ms:.2f} ms, one look of the detector {look_ms:.2f} ms CPU in "
        f"this run: a frame with one face costs {(face_ms + frame_ms) / mesh_ms:.2f} meshes, "
        f"any other {frame_ms / mesh_ms:.2f}"
    )
    none = [row for row in rows if row.num_face_frames < 0.02 * row.num_frames]
    single = [row for row in rows if 0.95 < row.num_face_frames / row.num_frames < 1.05]
    for what, some in (("with one face throughout", single), ("without a face", none)):
        if some:
            each = sum(r.measure_cpu_s - r.decode_cpu_s for r in some)
            print(
                f"  files {what}: {len(some)}, "
                f"{1000 * each / sum(r.num_frames for r in some):.2f} ms a frame"
            )


def synthetic_1080p(folder: Path) -> list[str]:
    """A talking face and a panned picture, both 1080p, 20 s, made here."""
    from fractions import Fraction

    import skimage.data

    from curation.demo import make_demo_footage

    small = folder / "small"
    truths = make_demo_footage(small)
    face = next(small / t.file for t in truths if t.state == "done" and t.min_kept == 1)
    uris = [str(folder / "face_1080p.mp4"), str(folder / "no_face_1080p.mp4")]
    picture = np.ascontiguousarray(np.tile(skimage.data.coffee(), (4, 5, 1)))
    for uri in uris:
        with av.open(str(face)) as given, av.open(uri, "w") as made:
            out = made.add_stream("libx264", rate=25)
            out.width, out.height, out.pix_fmt = 1920, 1080, "yuv420p"
            out.options = {"preset": "veryfast", "crf": "20"}
            sound = made.add_stream("aac", rate=48000)
            frames = list(given.decode(video=0))
            for number in range(500):
                if uri == uris[0]:
                    frame = frames[number % len(frames)].reformat(1920, 1080, "yuv420p")
                else:
                    part = picture[number : number + 1080, 2 * number : 2 * number + 1920]
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(part), "rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                made.mux(out.encode(frame))
            made.mux(out.encode(None))
            given.seek(0)
            pts = 0
            while pts < 20 * 48000:
                for heard in given.decode(audio=0):
                    heard.pts, heard.time_base = pts, Fraction(1, heard.sample_rate)
                    pts += heard.samples
                    made.mux(sound.encode(heard))
                given.seek(0)
            made.mux(sound.encode(None))
    return uris


def peak_memory(minutes: int) -> None:
    """Peak resident memory of one worker on a source of that length.

    The footage is made in one process and measured in another: making it takes more memory than
    measuring it.
    """
    with tempfile.TemporaryDirectory() as place:
        for call in (f"_make_long({place!r}, {minutes})", f"_measure_long({place!r}, {minutes})"):
            code = f"from benchmarks import decode_ratio; decode_ratio.{call}"
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"  memory: failed: {done.stderr[-400:]}")
                return
    print(next(line for line in done.stdout.splitlines() if line.startswith("  memory")))


def _make_long(place: str, minutes: int) -> None:
    from curation.demo import make_demo_footage

    truths = make_demo_footage(Path(place) / "small")
    face = next(t.file for t in truths if t.state == "done" and t.min_kept == 1)
    _repeat(str(Path(place) / "small" / face), str(Path(place) / "long.mp4"), 60 * minutes)


def _measure_long(place: str, minutes: int) -> None:
    run = Folder(str(Path(place) / "run"))
    before = _peak_mib()
    measurer = Measurer(run, build_pipeline(load_recipe("talking_portrait")))
    (source,) = identify([str(Path(place) / "long.mp4")])
    first = measurer(Unit(source))
    for segment in range(first.num_segments if first.num_segments > 1 else 0):
        measurer(Unit(source, segment, first.num_segments))
    print(
        f"  memory of a worker, {minutes}-minute source: peak {_peak_mib():.0f} MiB "
        f"(before it: {before:.0f})"
    )


def _peak_mib() -> float:
    """Peak of this program; on Linux getrusage would give its parent's where that is larger."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (each for each in status.read_text().splitlines() if each.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 / 1024  # macOS: bytes


def _repeat(uri: str, to: str, length_s: float) -> None:
    """Copy the packets of a file one after the other until it is long enough."""
    with av.open(uri) as given, av.open(to, "w") as made:
        streams = {s.index: made.add_stream_from_template(s) for s in given.streams}
        # A little longer than the file, so that no copy begins before the last one has ended.
        period_s = float(given.duration or 0) / av.time_base + 0.2
        for number in range(int(length_s / period_s) + 1):
            given.seek(0)
            for packet in given.demux():
                if packet.dts is None:
                    continue
                shift = round(number * period_s / float(packet.time_base))
                packet.pts += shift
                packet.dts += shift
                packet.stream = streams[packet.stream.index]
                made.mux(packet)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="*")
    parser.add_argument("--synthetic-1080p", action="store_true")
    parser.add_argument("--memory", action="store_true")
    arguments = parser.parse_args()
    if arguments.inputs:
        show("given files", *compare(find_inputs(arguments.inputs)))
    if arguments.synthetic_1080p:
        with tempfile.TemporaryDirectory() as place:
            show("synthetic 1080p", *compare(synthetic_1080p(Path(place))))
    if arguments.memory:
        for minutes in (1, 5, 30):
            peak_memory(minutes)


if __name__ == "__main__":
    main()
