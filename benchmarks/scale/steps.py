"""The sections of the page: what each step costs, where it stops scaling, and what takes over there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.scale.assumptions import CARD, Assumptions
from benchmarks.scale.measured import Measured
from benchmarks.scale.quantities import Quantity, percent, rounded, shown

UNIT = "`unit-costs.json`"
ENCODE, INGEST, TRANSFER = "`bench-encode.json`", "`ingest-soundtracks.json`", "`transfer.json`"
DEFINED, BOUND = "by definition", "bound, not measured"


@dataclass(frozen=True)
class Line:
    """A row of a section's table: what, unit cost, where that was read, total."""

    what: str
    unit_cost: str
    source: str
    total: str


@dataclass(frozen=True)
class Step:
    """One section.

    Parameters
    ----------
    title, often : str
        What, and how often it happens.
    costs, stops, then : str
        For the summary: the total, where it stops scaling, what takes over there.
    lines : tuple of Line
    text : str
        What a reader should know beside the figures.
    """

    title: str
    often: str
    costs: str
    stops: str
    then: str
    lines: tuple[Line, ...]
    text: str


@dataclass(frozen=True)
class Figures:
    """Everything that a section may speak of."""

    assumed: Assumptions
    measured: Measured
    found: dict[str, Quantity]

    def __getitem__(self, name: str) -> str:
        """Give a total as people read it."""
        return shown(self.found[name])

    def percent(self, name: str) -> str:
        """Give a total that is a share."""
        return percent(self.found[name])

    def assume(self, name: str) -> str:
        """Give an assumption as people read it."""
        return shown(self.assumed.quantity(name), digits=3)

    def plain(self, name: str) -> str:
        """Give an assumption without its unit."""
        return rounded(self.assumed.quantity(name).value, digits=3)

    def cost(self, name: str) -> str:
        """Give a cost of ``unit-costs.json`` as people read it."""
        return shown(self.measured.cost(name))

    def line(self, what: str, cost: str, total: str) -> Line:
        """Make a row from a cost of ``unit-costs.json``."""
        return Line(what, self.cost(cost), UNIT, self[total])


def backfill(f: Figures) -> Step:
    """The whole catalogue is heard."""
    m = f.measured
    return Step(
        "Backfill: hear the whole catalogue",
        "once an encoder",
        f"{f['backfill.work']}: {f['backfill.cores']} for {f.assume('backfill')}",
        f"{f['backfill.machine_limit']} on one machine in that time",
        "decode and encode on many machines, by Ray (`anacrusis backfill`); the audio store's bandwidth, in the end",
        (
            Line("decode", shown(m.decode), ENCODE, f["backfill.decode"]),
            Line("encode, on cores", f"at most {shown(m.encode)}", ENCODE, f["backfill.encode"]),
            f.line("write, one committer, in groups", "write_content.wall", "backfill.write"),
            Line("audio that is read", f.assume("audio_rate"), "assumed", f["backfill.read"]),
        ),
        f"""Every track is by itself, so that this grows with the number of cores; one machine of {f.plain("cores")} takes {f["backfill.machine_time"]}. With
GPUs the encoder's cores go and the decoder's stay, {f["backfill.decode"]} whatever encodes; how many tracks a GPU encodes was never measured.
The writes take one process {f["backfill.write"]} in all, and are not what stops it. A whole ingest costs {shown(m.ingest)} rather than the
{shown(m.decode + m.encode)} of the two stages, as `ingest-soundtracks.json` has it, with waiting counted as work.""",
    )


def releases(f: Figures) -> Step:
    """A day of new tracks."""
    return Step(
        "A day's releases",
        "every day",
        f"{f['releases.work']}: {f['releases.cores']} all day",
        f"{f['releases.limit']} through one committer, a commit at a time",
        "shared commits, which concurrent callers get by themselves; then homes of a part of the tracks: do not exist",
        (
            Line("ingest: read, decode, encode, project", shown(f.measured.ingest), INGEST, f["releases.work"]),
            Line(
                "two commits a track, by themselves",
                f.cost("write_one.wall"),
                UNIT,
                f"{f.percent('releases.committer')} of a day",
            ),
        ),
        f"""One committer writes for a home ([ADR 3](adr/0003-one-group-committer.md)). Were every track committed by itself, it would be busy for
{f.percent("releases.committer")} of the day; in groups a row costs {f.cost("write_content.wall")}. The writer that places releases holds the catalogue of all warm
tracks in memory, {f["fit.memory"]}: see the refit.""",
    )


def imports(f: Figures) -> Step:
    """A training comes in."""
    return Step(
        "Import of a training",
        "every night",
        f"tracks {f['import.track_time']}, users {f['import.user_time']}; {f['import.memory']} of memory at the least",
        f"{f['import.limit']}, tracks and users together, in the memory of one machine",
        "leaving the users out; an import in pieces: does not exist",
        (
            f.line("tracks", "import.wall", "import.track_time"),
            f.line("users", "import.wall", "import.user_time"),
            Line("their vectors in memory, once", "4 bytes a dimension", DEFINED, f["import.memory"]),
        ),
        f"""One process reads the files of factors whole, checks them, and writes a table each. There are {f["users"]} of users to {f["warm"]} of
tracks, and users are optional: a platform of this size hands a user's vector in with the query and with feedback, or imports those who
listen to new music. The projector that folds feedback in reads all of them once, to know what is common among listeners.""",
    )


def bridge(f: Figures) -> Step:
    """Cold vectors are carried over."""
    return Step(
        "Bridge to the new training",
        "every night",
        f"{f['refresh.stage']}, and {f['bridge.memory']} of memory at the least",
        f"{f['bridge.limit']}, warm and cold, in the memory of one machine",
        "an alignment fitted on a sample and rows carried in pieces: do not exist",
        (
            f.line("write the carried rows, one committer", "stage.wall", "refresh.stage"),
            Line("vectors of the old space and of the new", "4 bytes a dimension", DEFINED, f["bridge.memory"]),
        ),
        """The rotation itself is a product of matrices and costs next to nothing; writing a row for every cold track of the old space is what
takes time. It is what keeps cold tracks in the answers between an import and its refit.""",
    )


def refit(f: Figures) -> Step:
    """The transfer is fitted anew."""
    numbers = f"4 bytes × ({rounded(f.measured.content_dim.value, 3)} + {f.plain('dim')})"
    return Step(
        "Refit of the transfer",
        "after each training",
        f"{f['fit.time']}, and {f['fit.memory']} of memory",
        f"{f['fit.limit']}, warm ones, in the memory of one machine",
        "a fit on a sample of the artists, a catalogue that is read artist by artist: do not exist",
        (
            Line("fit: as many steps for any number of tracks", f["fit.time"], TRANSFER, f["fit.time"]),
            Line("content and vector of each warm track", numbers, DEFINED, f["fit.memory"]),
        ),
        """The number of optimiser steps does not depend on the number of tracks, so that time is no question; whether as many steps are
enough for so many tracks is one, and was not tried. Memory is the limit: the fit, a full refresh and every process that ingests hold content and
collaborative vector of all warm tracks.""",
    )


def refresh(f: Figures) -> Step:
    """Cold tracks are projected anew."""
    m = f.measured
    return Step(
        "Refresh",
        "all after a refit, else what changed",
        f"all: {f['refresh.time']}; {f['changed.rows']} that changed: {f['changed.time']}",
        f"the index: {f.percent('changed.index_share')} of a refresh of what changed",
        "projecting on many machines, by Ray (`anacrusis refresh --ray`); staging and the index stay with one process",
        (
            Line("project all", shown(m.project), TRANSFER, f["refresh.project"]),
            f.line("stage the rows of all, one committer", "stage.wall", "refresh.stage"),
            Line("project what changed", shown(m.project), TRANSFER, f["changed.project"]),
            f.line("stage its rows", "stage.wall", "changed.stage"),
            f.line("the next index, after either", "build_next.wall", "index.build_next"),
        ),
        f"""Projecting uses all of a machine's {f.plain("cores")} cores ({f["refresh.project_time"]} for all), one committer stages, and one process builds the
index. What is projected is in proportion to what changed. What is read to find it is not: ids, credits and bases of all tracks, and
of those {f.percent("changed.index_share")} the same goes for the index.""",
    )


def index(f: Figures) -> Step:
    """The index is built, loaded, switched to."""
    return Step(
        "Index: build, load, hold",
        "every publish",
        f"build {f['index.build']}; load {f['index.open']}; hold {f['index.resident']}",
        f"{f['index.limit']} in the memory of one machine while it loads",
        "homes of a part of the tracks, and a merge of their answers: do not exist",
        (
            f.line("build anew, one process", "build.wall", "index.build"),
            f.line("the next one, 1 % of its rows new", "build_next.wall", "index.build_next"),
            f.line("files", "bytes.index", "index.file"),
            f.line("from opening a home to the first answer", "open.wall", "index.open"),
            f.line("a rollback in a serving process", "switch.wall", "index.switch"),
            f.line("resident: vectors, ids, dates, credits", "resident_bytes", "index.resident"),
            f.line("resident at most, on the way there", "peak_bytes", "index.peak"),
        ),
        f"""A serving process holds every vector and what filters need of every track. The switch is that of a pointer; what it points to
is loaded before, beside what is served, which takes {f["index.switch"]} in a process that follows a publish, with the old snapshot answering
meanwhile, and twice the memory. A replica that starts needs {f["index.open"]} until its first answer.""",
    )


def queries(f: Figures) -> Step:
    """Searches at the peak."""
    return Step(
        "Queries at peak",
        f["queries"],
        f"exact, on cores: {f['query.scan_cores']}; on GPUs: {f['gpu.cards']} ({BOUND})",
        f"{f['query.limit']} on a core within {f.assume('budget')}; {f['gpu.limit']} in a GPU's memory",
        "the flat index on GPUs, which is there and not measured; IVF, HNSW or PQ, and shards: do not exist",
        (
            f.line("a query by itself, exact, one core", "scan.1.wall", "query.scan"),
            f.line("queries in full batches, exact, at peak", "scan.256.cpu", "query.scan_cores"),
            Line(f"a pass for {f.assume('gpu_batch')} on a GPU", "bandwidth or flops", BOUND, f["gpu.pass"]),
        ),
        f"""The only kind of index is flat: every query looks at every row. FAISS gives a query one core, so that at {f["rows"]} its answer takes
{f["query.scan"]}. To stay within {f.assume("budget")} on such a core, an index may look at no more than {f.percent("query.share")} of the rows, as IVF and HNSW do, or make each
look cheaper, as PQ does. FAISS has all of them and `index/backends.py` the place for them; none is built, and their recall on projected
vectors is not known. The backend for GPUs exists (`GpuFlat`): bandwidth and flops of the {CARD} bound a pass to {f["gpu.pass"]} and a card to
{f["gpu.rate_of_card"]}, with {f.percent("gpu.held")} of its memory filled. Filters that mask many rows and damping fall back to the CPU's copy, which is the exact
scan again.""",
    )


def transport(f: Figures) -> Step:
    """Server processes and replicas."""
    return Step(
        "Transport and replicas",
        "at peak",
        f"a query a call: {f['unary.processes']}; in batches: {f['batched.cores']}",
        f"{f['unary.limit']} and process, a query a call",
        "batches; processes that follow one home as read-only replicas (`anacrusis serve --read-only`), each with its own index in memory",
        (
            f.line("a query a call", "unary.cpu", "unary.cores"),
            f.line("256 queries a call", "batched.cpu", "batched.cores"),
            Line("memory of the processes, a query a call", f.cost("resident_bytes"), UNIT, f["unary.memory"]),
        ),
        f"""The transport alone, over an index of next to nothing: Python's gRPC keeps one core busy and a process answers
{f["unary.process_rate"]} at most. Each process holds an index of its own, so that callers who ask one query at a time need {f["unary.memory"]} of memory in all.
Batches are the lever: they cost a fraction of the transport, and share one pass over the vectors.""",
    )


def feedback(f: Figures) -> Step:
    """What listeners do with cold tracks."""
    return Step(
        "Feedback",
        f["events"],
        f"{f.percent('feedback.committer_peak')} of one writer's time at peak; {f['feedback.disk']} of disk",
        f"{f['feedback.limit']}, which is {f.percent('feedback.limit_share')} of all streams at peak",
        "larger calls; events gathered and thinned out before they are sent; homes of a part of the tracks: do not exist",
        (
            Line(
                "record, and project the track anew",
                f.cost("feedback.wall"),
                UNIT,
                f"{f.percent('feedback.committer_peak')} of a writer at peak",
            ),
            f.line("the same on cores, at peak", "feedback.cpu", "feedback.cores"),
            f.line("an event on disk, kept for ever", "bytes.feedback", "feedback.disk"),
        ),
        f"""Of {f.assume("streams")} only those of cold tracks belong here; the others are refused, and are to be held back before they are sent.
Measured with {f.measured.what("feedback.wall")}: a track is projected once a call, so that an event costs less where a call has more events on a track.
The number of events of every track is held in memory, and nothing is ever deleted.""",
    )


def storage(f: Figures) -> Step:
    """Tables on disk, and what goes over the network."""
    return Step(
        "Storage, retention, object store",
        f"kept for {f.assume('kept')}",
        f"{f['disk.total']}; {f['traffic.replica']} to each replica",
        "no limit of its own: the trainings that are kept, times their users",
        "fewer users in a space; fewer days",
        (
            f.line("tracks", "bytes.tracks", "disk.tracks"),
            f.line("content vectors", "bytes.content", "disk.content"),
            f.line("served vectors, a training", "bytes.served", "disk.served"),
            f.line("user vectors, a training", "bytes.users", "disk.users"),
            Line("all trainings that are kept", "and what their refits rewrote", UNIT, f["disk.spaces"]),
            f.line("index, a snapshot", "bytes.index", "disk.index"),
            Line("all indexes that are kept", f.cost("bytes.index"), UNIT, f["disk.indexes"]),
            Line("index files to one replica", f.cost("bytes.index"), UNIT, f["traffic.replica"]),
            Line("to all, a query a call", f.cost("bytes.index"), UNIT, f["traffic.replicas"]),
        ),
        f"""Every night's training is a whole space, which shares nothing with last night's, and user vectors are {f.percent("disk.users_share")} of all that is
kept. A replica reads the whole index of every publish, and ids, tiers and metadata of all tracks from the tables beside it.""",
    )


STEPS: tuple[Callable[[Figures], Step], ...] = (
    backfill, releases, imports, bridge, refit, refresh, index, queries, transport, feedback, storage,
)  # fmt: skip
