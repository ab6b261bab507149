"""Ways to spoil a copy of a run, each leaving everything else as consistent as it can."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.dataset import DatasetManifest, ShardEntry
from manifests.shards import ShardWriter, read_samples

Samples = dict[str, dict[str, bytes]]


class Spoilt:
    """A run folder that a test may change, and its parts.

    Args:
        run: the folder.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.dataset = run / "dataset"
        self.shards = sorted((self.dataset / "shards").glob("*.tar"))
        self.samples: list[Samples] = [dict(read_samples(path.open("rb"))) for path in self.shards]

    @property
    def keys(self) -> list[list[str]]:
        return [list(samples) for samples in self.samples]

    def write(self, *, fresh_digests: bool) -> None:
        """Write the shards anew with right sums and places; digests in the rows only if asked."""
        entries, places = [], {}
        for path, samples in zip(self.shards, self.samples, strict=True):
            with path.open("wb") as file:
                writer = ShardWriter(file)
                for key, members in samples.items():
                    places[key] = (f"shards/{path.name}", writer.add(key, members).members)
                digest = writer.finish()
            entries.append((f"shards/{path.name}", digest))

        def renewed(row: dict[str, Any]) -> dict[str, Any]:
            if row["clip_id"] not in places:
                return row
            shard, members = places[row["clip_id"]]
            old = {member["ext"]: member["sha256"] for member in row["members"]}
            data = next(s for s in self.samples if row["clip_id"] in s)[row["clip_id"]]
            listed = []
            for member in members:
                fresh = hashlib.sha256(data[member.ext]).hexdigest()
                digest = fresh if fresh_digests else old.get(member.ext)
                if digest is not None:
                    listed.append({**vars(member), "sha256": digest})
            return {**row, "shard": shard, "members": listed}

        self.rows(renewed)
        old = {entry.path: entry for entry in self.manifest().shards}
        self.list_shards(
            ShardEntry(path, d.sha256, d.num_bytes, d.num_samples, old[path].duration_s)
            for path, d in entries
        )

    def manifest(self) -> DatasetManifest:
        return DatasetManifest.from_json((self.dataset / "dataset.json").read_text())

    def list_shards(self, entries: Any) -> None:
        old = self.manifest()
        new = DatasetManifest(old.recipe_name, old.recipe_digest, tuple(entries))
        (self.dataset / "dataset.json").write_text(new.to_json())

    def entry(self, **changes: Any) -> None:
        """Change what the manifest says of the first shard."""
        first, *rest = self.manifest().shards
        self.list_shards([ShardEntry(**{**vars(first), **changes}), *rest])

    def rows(self, change: Callable[[dict[str, Any]], Any], name: str = "dataset/clips.parquet"):
        """Change the rows of a table one by one; none is dropped, a list is several."""
        table = pq.read_table(self.run / name)
        rows: list[Any] = []
        for row in table.to_pylist():
            new = change(row)
            rows += new if isinstance(new, list) else [row if new is None else new]
        pq.write_table(pa.Table.from_pylist(rows, table.schema), self.run / name)

    def record(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change run.json."""
        path = self.run / "run.json"
        record = json.loads(path.read_text())
        change(record)
        path.write_text(json.dumps(record))

    def version(self, name: str) -> None:
        """Give a table the version of a later program."""
        table = pq.read_table(self.run / name)
        metadata = {**table.schema.metadata, b"talkreel.schema_version": b"99"}
        pq.write_table(table.replace_schema_metadata(metadata), self.run / name)

    def flip(self, ext: str) -> None:
        """Flip one bit in the middle of a member, in place."""
        rows = pq.read_table(self.dataset / "clips.parquet").to_pylist()
        (places,) = (row["members"] for row in rows if row["clip_id"] == self.keys[0][0])
        (place,) = (place for place in places if place["ext"] == ext)
        whole = bytearray(self.shards[0].read_bytes())
        whole[place["offset"] + place["size"] // 2] ^= 1
        self.shards[0].write_bytes(whole)

    def member(self, ext: str, make: Callable[[bytes], bytes]) -> None:
        """Put another member in place of one, with everything else set right."""
        sample = self.samples[0][self.keys[0][0]]
        sample[ext] = make(sample[ext])
        self.write(fresh_digests=True)

    def described(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change what the json of a sample says."""

        def changed(data: bytes) -> bytes:
            said = json.loads(data)
            change(said)
            return json.dumps(said).encode()

        self.member("json", changed)

    def swap(self, ext: str) -> None:
        """Exchange a member of two samples, and make shards and sums anew."""
        first, second = (self.samples[0][key] for key in self.keys[0][:2])
        first[ext], second[ext] = second[ext], first[ext]
        self.write(fresh_digests=False)


def arrays_changed(change: Callable[[dict[str, np.ndarray]], Any]) -> Callable[[bytes], bytes]:
    def make(data: bytes) -> bytes:
        with np.load(io.BytesIO(data)) as stored:
            arrays = {name: stored[name].copy() for name in stored.files}
        change(arrays)
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    return make


def blanked(data: bytes, packet_index: int) -> bytes:
    """Blank one coded picture; the container stays whole."""
    with av.open(io.BytesIO(data), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    position, size = packets[packet_index].pos, packets[packet_index].size
    assert position is not None
    return data[: position + 4] + bytes(size - 4) + data[position + size :]


def longer(data: bytes) -> bytes:
    """The same sound with 0.1 s of silence behind it."""
    import soundfile

    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="int16")
    file = io.BytesIO()
    soundfile.write(file, np.r_[samples, np.zeros(rate_hz // 10, np.int16)], rate_hz, format="FLAC")
    return file.getvalue()


def cut_by_a_frame(data: bytes) -> bytes:
    """The same video without its last frame, copied packet by packet."""
    out = io.BytesIO()
    with av.open(io.BytesIO(data)) as given, av.open(out, "w", format="mp4") as made:
        stream = given.streams.video[0]
        target = made.add_stream_from_template(stream)
        packets = [packet for packet in given.demux(stream) if packet.size]
        last = max(packet.pts or 0 for packet in packets)
        for packet in packets:
            if packet.pts != last:
                packet.stream = target
                made.mux(packet)
    return out.getvalue()
