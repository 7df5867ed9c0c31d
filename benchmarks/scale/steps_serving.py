"""The steps that answer: the index, searches, their transport; feedback; and what lies on disk."""

from __future__ import annotations

from benchmarks.scale.assumptions import CARD
from benchmarks.scale.step import BOUND, UNIT, Figures, Line, Step


def index(f: Figures) -> Step:
    """Tell what it costs to build, load and hold an index."""
    return Step(
        "Index: build, load, hold",
        "every publish",
        f"build {f['index.build']}; load {f['index.open']}; hold {f['index.resident']}",
        f"{f['index.limit']} in the memory of one machine, while it loads one beside another",
        "",
        "homes of a part of the tracks, and a merge of their answers",
        (
            f.line("build anew, one process", "build.cpu", "index.build"),
            f.line("the next one, 1 % of its rows new", "build_next.cpu", "index.build_next"),
            f.line("files", "bytes.index", "index.file"),
            f.line("from opening a home to the first answer", "open.cpu", "index.open"),
            f.line("a rollback in a serving process", "switch.cpu", "index.switch"),
            f.line("resident: vectors, ids, dates, credits", "resident_bytes", "index.resident"),
            f.line("resident at most, on the way there", "peak_bytes", "index.peak"),
        ),
        f"""A serving process holds every vector, and what filters need of every track. The switch is that of a
        pointer; what it points to is loaded before, beside what is served: {f["index.switch"]} in a process that
        follows a publish, in which it answers from the old snapshot and needs {f["index.beside"]} of memory. A replica
        that starts needs {f["index.open"]} until its first answer.""",
    )


def queries(f: Figures) -> Step:
    """Tell what searches cost at the peak."""
    return Step(
        "Queries at peak",
        f["queries"],
        f"exact, on cores: {f['query.scan_cores']}; on GPUs: at least {f['gpu.cards']} ({BOUND})",
        f"{f['query.limit']} on a core within {f.assume('budget')}; {f['gpu.limit']} in a GPU's memory",
        "the flat index on a GPU, not measured",
        "homes of a part of the tracks",
        (
            f.line("a query by itself, exact, one core", "scan.1.cpu", "query.scan"),
            f.line("queries in full batches, exact, at peak", "scan.256.cpu", "query.scan_cores"),
            Line(f"a pass for {f.assume('gpu_batch')} on a GPU", "bandwidth or flops", BOUND, f["gpu.pass"]),
        ),
        f"""Here every query looks at every row, as the kind `flat_fp16` does. FAISS gives a query one core, so that at
        {f["rows"]} its answer takes {f["query.scan"]}. To stay within {f.assume("budget")} on such a core, an index may
        look at no more than {f.percent("query.share")} of the rows. The kind `ivf_fp16` looks at some lists of them
        (ADR 23); what share that takes at this size was not measured. The backend for GPUs exists (`GpuFlat`):
        bandwidth and flops of the {CARD} bound a pass to {f["gpu.pass"]} and a card to {f["gpu.rate_of_card"]}, with
        {f.percent("gpu.held")} of its memory filled. Filters that mask many rows and damping fall back to the CPU's
        copy, which is the exact scan again.""",
    )


def transport(f: Figures) -> Step:
    """Tell how many processes take the queries."""
    return Step(
        "Transport and replicas",
        "at peak",
        f"a query a call: {f['unary.processes']}; in batches: {f['batched.cores']}",
        f"{f['unary.limit']} a process, a query a call",
        "batches; read-only replicas (`anacrusis serve --read-only`), each with an index of its own",
        "an index in memory that processes share",
        (
            f.line("a query a call", "unary.cpu", "unary.cores"),
            f.line("256 queries a call", "batched.cpu", "batched.cores"),
            Line("memory of the processes, a query a call", f.cost("resident_bytes"), UNIT, f["unary.memory"]),
        ),
        f"""The transport alone, over an index of next to nothing: Python's gRPC keeps one core busy, and a process
        answers {f["unary.process_rate"]} at most. Each process holds an index of its own, so that callers who ask one
        query at a time need {f["unary.memory"]} of memory in all. Batches are the lever: they cost a fraction of the
        transport, and share one pass over the vectors.""",
    )


def feedback(f: Figures) -> Step:
    """Tell what it costs to take in what listeners do with cold tracks."""
    busy = f"{f.percent('feedback.committer_peak')} of a writer's time at peak"
    return Step(
        "Feedback",
        f["events"],
        f"{busy}; {f['feedback.disk']} of disk",
        f"{f['feedback.limit']}, which is {f.percent('feedback.limit_share')} of all streams at peak",
        "calls with more events of a track",
        "gathering events before they are sent; homes of a part of the tracks",
        (
            Line("record, and project the track anew", f.cost("feedback.cpu"), UNIT, busy),
            f.line("the same on cores, at peak", "feedback.cpu", "feedback.cores"),
            f.line("an event on disk, kept for ever", "bytes.feedback", "feedback.disk"),
        ),
        f"""Of {f.assume("streams")} only those of cold tracks belong here; the others are refused, and are to be held
        back before they are sent. This is one call after the other, with
        {f.measured.what("feedback.cpu")}: a track is projected once a call, so that an event costs less where a
        call has more events on a track. A call of more than 256 tracks or events looks them up by going through all
        keys, {f["lookup.pass"]} a look-up at this size: keep calls below that. The number of events of every track is
        held in memory, and nothing is ever deleted.""",
    )


def storage(f: Figures) -> Step:
    """Tell what lies on disk, and what goes over the network."""
    size = f.cost("bytes.index")
    return Step(
        "Storage, retention, object store",
        f"kept for {f.assume('kept')}",
        f"{f['disk.total']}; {f['traffic.replica']} to each replica",
        "no size of its own: it is the trainings that are kept, times their users",
        "fewer days (`anacrusis maintain`); an import without users",
        "users that trainings share",
        (
            f.line("tracks", "bytes.tracks", "disk.tracks"),
            f.line("content vectors", "bytes.content", "disk.content"),
            f.line("served vectors, a training", "bytes.served", "disk.served"),
            f.line("user vectors, a training", "bytes.users", "disk.users"),
            Line("all trainings, and what their refits rewrote", "the two above", UNIT, f["disk.spaces"]),
            f.line("index, a snapshot", "bytes.index", "disk.index"),
            Line("all indexes", size, UNIT, f["disk.indexes"]),
            Line("index files to one replica", size, UNIT, f["traffic.replica"]),
            Line("to all, a query a call", size, UNIT, f["traffic.replicas"]),
        ),
        f"""Every night's training is a whole space, which shares nothing with last night's, and user vectors are
        {f.percent("disk.users_share")} of all that is kept. A replica reads the whole index of every publish, and ids,
        tiers and metadata of all tracks from the tables beside it.""",
    )
