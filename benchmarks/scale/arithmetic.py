"""Unit costs times assumptions, and nothing else: every figure of the page by name."""

from __future__ import annotations

from benchmarks.scale.assumptions import Assumptions
from benchmarks.scale.measured import Measured
from benchmarks.scale.quantities import Quantity, UnitError, larger
from jobs.backfill import LOOK_UP_TRACKS
from jobs.projecting import STAGE_TRACKS

DAY = Quantity.of(86_400, "s/day")
YEAR = Quantity.of(365, "day/year")
ROW = Quantity.of(1, "row/track")  # a track has one row in a table
VECTOR = Quantity.of(1, "row/user")
FLOAT32 = Quantity.of(4, "bytes/(row dimension)")
FLOAT16 = Quantity.of(2, "bytes/(row dimension)")
COMMITS = Quantity.of(2, "commit/track")  # what was heard, then where it was placed
STAGED = Quantity.of(STAGE_TRACKS, "row")  # a merge, and a look-up of records and one of content before it
PLANNED = Quantity.of(LOOK_UP_TRACKS, "row")  # of a backfill's manifest, looked up like those of a merge
LOOKUPS = Quantity.of(2, "lookup")
FLOPS = Quantity.of(2, "flop/(query row dimension)")  # a product and a sum
# What a total or a threshold may be in; anything else comes from a wrong unit.
UNITS = frozenset(
    {
        *("", "s", "core s", "core", "process", "card", "row", "track"),
        *("track/(day)", "query/(s)", "event/(day)", "event/(s)"),
        *("bytes", "bytes/(day)", "bytes/(year)"),
    }
)


def totals(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Work out every total and every threshold.

    Raises
    ------
    UnitError
        Where units do not fit together.
    """
    found = {
        **_sizes(assumed),
        **_hearing(assumed, measured),
        **_training(assumed, measured),
        **_refresh(assumed, measured),
        **_index(assumed, measured),
        **_queries(assumed, measured),
        **_feedback(assumed, measured),
        **_storage(assumed, measured),
        **_night(assumed, measured),
    }
    for name, quantity in found.items():
        if quantity.unit not in UNITS:
            raise UnitError(f"{name} came out in {quantity.unit!r}: a unit cost or an assumption has a wrong unit")
    return found


def _sizes(assumed: Assumptions) -> dict[str, Quantity]:
    rows = assumed.quantity("tracks") * ROW
    return {
        "rows": rows,
        "warm": rows * assumed.warm_share,
        "cold": rows * (1 - assumed.warm_share),
        "users": assumed.quantity("users") * VECTOR,
        "queries": assumed.quantity("streams") * assumed.quantity("queries") / DAY * assumed.peak,
        "events": assumed.quantity("streams") * assumed.cold_streams * Quantity.of(1, "event/stream"),
    }


def _hearing(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Backfill of the catalogue, and a day's releases."""
    tracks, new = assumed.quantity("tracks"), assumed.quantity("new_tracks")
    length, machine = assumed.quantity("track_length"), assumed.quantity("cores")
    work = (measured.decode + measured.encode) * length
    commit = measured.alone("write_one") * COMMITS
    return {
        "backfill.decode": measured.decode * length * tracks,
        "backfill.encode": measured.encode * length * tracks,
        "backfill.work": work * tracks,
        "backfill.machine_time": work * tracks / machine * Quantity.of(1, "1/machine"),
        "backfill.cores": work * tracks / assumed.quantity("backfill"),
        "backfill.write": measured.alone("write_content") * tracks,
        "backfill.look_ups": measured.alone("lookup.pass") * tracks * ROW * LOOKUPS * (tracks * ROW / PLANNED),
        "backfill.read": assumed.quantity("audio_rate") * length * tracks,
        "backfill.machine_limit": assumed.quantity("backfill") * machine / work * Quantity.of(1, "machine"),
        "releases.work": measured.ingest * length * new * Quantity.of(1, "day"),
        "releases.cores": measured.ingest * length * new / DAY,
        "releases.committer": commit * new / DAY,
        "releases.limit": DAY / commit,
    }


def _training(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Import of a training, and the refit of the transfer."""
    sizes = _sizes(assumed)
    machine = assumed.quantity("memory") * Quantity.of(1, "machine")
    vector = assumed.quantity("dim") * FLOAT32
    known = (assumed.quantity("dim") + measured.content_dim) * FLOAT32
    return {
        "import.track_time": measured.alone("import") * sizes["warm"],
        "import.user_time": measured.alone("import") * sizes["users"],
        "import.memory": vector * (sizes["warm"] + sizes["users"]),
        "import.limit": machine / vector,
        "bridge.time": measured.alone("bridge") * sizes["rows"],
        "bridge.memory": vector * sizes["rows"] + vector * sizes["warm"],
        "bridge.limit": machine / vector / (1 + assumed.warm_share),
        "fit.time": measured.fit,
        "fit.memory": known * sizes["warm"],
        "fit.limit": machine / known,
    }


def _refresh(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Projecting cold tracks anew, all of them or what changed, and staging the rows."""
    rows, cold = _sizes(assumed)["rows"], _sizes(assumed)["cold"]
    changed = cold * assumed.changed_share
    project = measured.project / ROW / assumed.quantity("cores") * Quantity.of(1, "1/machine")
    row = measured.alone("stage.row")
    merging = measured.alone("stage.pass") * Quantity.of(1, "merge") / STAGED
    looking = measured.alone("lookup.pass") * LOOKUPS / STAGED
    build = _index(assumed, measured)["index.build_next"]
    # Of a part of a group there is one merge all the same, which is nothing beside the others.
    stage = row + merging * rows
    look_up = looking * rows
    return {
        "refresh.project": measured.project / ROW * cold,
        "refresh.project_time": project * cold,
        "refresh.stage": stage * cold,
        "refresh.rows": row * cold,
        "refresh.passes": merging * rows * cold,
        "refresh.lookups": look_up * cold,
        "refresh.passes_and_lookups": (merging * rows + look_up) * cold,
        "refresh.time": (project + stage + look_up) * cold + build,
        "refresh.pass": measured.alone("stage.pass") * rows * Quantity.of(1, "merge"),
        "refresh.limit": row / (merging + looking),
        "changed.rows": changed,
        "changed.project": measured.project / ROW * changed,
        "changed.stage": (stage + look_up) * changed,
        "changed.time": (project + stage + look_up) * changed + build,
        "changed.index_share": build / ((project + stage + look_up) * changed + build),
        "lookup.pass": measured.alone("lookup.pass") * rows * Quantity.of(1, "lookup"),
    }


def _index(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    rows = _sizes(assumed)["rows"]
    resident, peak = measured.cost("resident_bytes"), measured.cost("peak_bytes")
    most = larger(resident, peak)
    return {
        "index.build": measured.alone("build") * rows,
        "index.build_next": measured.alone("build_next") * rows,
        "index.file": measured.cost("bytes.index") * rows,
        "index.resident": resident * rows,
        "index.peak": most * rows,
        "index.open": measured.alone("open") * rows,
        "index.switch": measured.alone("switch") * rows,
        "index.beside": (resident + most) * rows,
        "index.limit": assumed.quantity("memory") * Quantity.of(1, "machine") / (resident + most),
    }


def _queries(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Work out searches at the peak, on cores and on GPUs, and what carries them."""
    sizes = _sizes(assumed)
    rows, rate, dim = sizes["rows"], sizes["queries"], assumed.quantity("dim")
    one, many = measured.alone("scan.1"), measured.cost("scan.256.cpu")
    batch, query = assumed.quantity("gpu_batch"), Quantity.of(1, "query")
    read = FLOAT16 * dim * rows / assumed.quantity("gpu_bandwidth")
    count = FLOPS * dim * rows * batch / assumed.quantity("gpu_flops")
    card_rate = batch / larger(read, count)
    process = 1 * Quantity.of(1, "core/process") / measured.cost("unary.cpu")
    processes = rate / (process * assumed.used)
    return {
        "query.scan": one * rows * dim * query,
        "query.scan_cores": many * rows * dim * rate / assumed.used,
        "query.limit": assumed.quantity("budget") / (one * dim * query),
        "query.share": assumed.quantity("budget") / (one * dim * query) / rows,
        "gpu.pass": larger(read, count) * Quantity.of(1, "1/card"),
        "gpu.rate_of_card": card_rate * Quantity.of(1, "card"),
        "gpu.cards": rate / (card_rate * assumed.used),
        "gpu.held": FLOAT16 * dim * rows / assumed.quantity("gpu_memory") * Quantity.of(1, "1/card"),
        "gpu.limit": assumed.quantity("gpu_memory") / (FLOAT16 * dim) * Quantity.of(1, "card"),
        "unary.process_rate": process * Quantity.of(1, "process"),
        "unary.processes": processes,
        "unary.memory": measured.cost("resident_bytes") * rows * processes * Quantity.of(1, "1/process"),
        "unary.cores": measured.cost("unary.cpu") * rate / assumed.used,
        "batched.cores": measured.cost("batched.cpu") * rate / assumed.used,
        "unary.limit": process * assumed.used * Quantity.of(1, "process"),
    }


def _feedback(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    events, cost = _sizes(assumed)["events"], measured.alone("feedback")
    at_peak = cost * events / DAY * assumed.peak
    return {
        "feedback.committer": cost * events / DAY,
        "feedback.committer_peak": at_peak,
        "feedback.cores": measured.cost("feedback.cpu") * events / DAY * assumed.peak / assumed.used,
        "feedback.share": Quantity.of(assumed.cold_streams),
        "feedback.limit": 1 / cost,
        "feedback.limit_share": assumed.cold_streams / at_peak,
        "feedback.disk": measured.cost("bytes.feedback") * Quantity.of(1, "row/event") * events * YEAR,
    }


def _storage(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Work out what lies on disk, and what goes over the network."""
    sizes = _sizes(assumed)
    rows = sizes["rows"]
    served, users = measured.cost("bytes.served") * rows, measured.cost("bytes.users") * sizes["users"]
    index = measured.cost("bytes.index") * rows
    kept = assumed.quantity("kept") * assumed.quantity("trainings") * Quantity.of(1, "1/training")
    snapshots = kept * assumed.publishes
    # The refit rewrites every projected row, and a snapshot keeps the version with the older one.
    rewritten = measured.cost("bytes.served") * sizes["cold"] * (assumed.publishes - 1)
    tables = (measured.cost("bytes.tracks") + measured.cost("bytes.content")) * rows
    spaces = (served + users + rewritten) * kept
    feedback = _feedback(assumed, measured)["feedback.disk"]
    total = tables + spaces + index * snapshots + feedback * Quantity.of(1, "year")
    processes = _queries(assumed, measured)["unary.processes"] * Quantity.of(1, "1/process")
    switches = assumed.quantity("trainings") * assumed.quantity("publishes") * Quantity.of(1, "1/publish")
    return {
        "disk.tracks": measured.cost("bytes.tracks") * rows,
        "disk.content": measured.cost("bytes.content") * rows,
        "disk.served": served,
        "disk.users": users,
        "disk.index": index,
        "disk.spaces": spaces,
        "disk.users_share": users * kept / total,
        "disk.indexes": index * snapshots,
        "disk.total": total,
        "traffic.replica": index * switches,
        "traffic.replicas": index * switches * processes,
    }


def _night(assumed: Assumptions, measured: Measured) -> dict[str, Quantity]:
    """Work out when a training is served, and its refit, one step after the other."""
    training, refresh, index = _training(assumed, measured), _refresh(assumed, measured), _index(assumed, measured)
    bridged = training["import.track_time"] + training["bridge.time"] + index["index.build"] + index["index.open"]
    return {
        "night.bridged": bridged,
        "night.refitted": bridged + training["fit.time"] + refresh["refresh.time"] + index["index.open"],
    }
