"""The steps that bring vectors in: from audio, from a training, from the transfer."""

from __future__ import annotations

from benchmarks.scale.quantities import percent, rounded, shown
from benchmarks.scale.step import DEFINED, ENCODE, INGEST, TRANSFER, UNIT, Figures, Line, Step
from jobs.backfill import LOOK_UP_TRACKS
from jobs.projecting import STAGE_TRACKS


def backfill(f: Figures) -> Step:
    """Tell what it costs to hear the whole catalogue."""
    m = f.measured
    return Step(
        "Backfill: hear the whole catalogue",
        "once an encoder",
        f"{f['backfill.work']}: {f['backfill.cores']} for {f.assume('backfill')}",
        f"{f['backfill.machine_limit']} on one machine in that time",
        "decoding and encoding on many machines, by Ray (`anacrusis backfill`); manifests in parts",
        "a plan that reads the keys once",
        (
            Line("decode, on cores", f"at most {shown(m.decode)}", ENCODE, f["backfill.decode"]),
            Line("encode, on cores", f"at most {shown(m.encode)}", ENCODE, f["backfill.encode"]),
            f.line("write, one committer, in groups", "write_content.cpu", "backfill.write"),
            Line("audio that is read", f.assume("audio_rate"), "assumed", f["backfill.read"]),
        ),
        f"""Every track is by itself, so that this grows with the number of cores; one machine of {f.plain("cores")}
        takes {f["backfill.machine_time"]}. With GPUs the encoder's cores go and the decoder's stay:
        {f["backfill.decode"]} whatever encodes; how many tracks a GPU encodes was never measured. The writes take one
        process {f["backfill.write"]} in all, and are not what stops it. A whole ingest costs {shown(m.ingest)} rather
        than the {shown(m.decode + m.encode)} of the two stages, with all cores taken as busy while it waits.
        On the same {rounded(m.cores.value)} cores, at a load of {m.results["backfill"]["load_before"]:.0f}, Ray went at
        {percent(m.ray)} of the speed of an ingest (`backfill.json`): it pays with more machines. One process plans a
        backfill, holds its whole manifest, and looks up what is there already, {LOOK_UP_TRACKS:,} tracks at a time:
        with the catalogue in one manifest, a second run goes through keys for {f["backfill.look_ups"]}.""",
    )


def releases(f: Figures) -> Step:
    """Tell what a day of new tracks costs."""
    committing = f"{f.percent('releases.committer')} of a day"
    return Step(
        "A day's releases",
        "every day",
        f"{f['releases.work']}: {f['releases.cores']} all day",
        f"{f['releases.limit']} through one committer, a commit at a time",
        "shared commits, which concurrent callers get by themselves",
        "homes of a part of the tracks",
        (
            Line("ingest: read, decode, encode, project", shown(f.measured.ingest), INGEST, f["releases.work"]),
            Line("two commits a track, by themselves", f.cost("write_one.cpu"), UNIT, committing),
        ),
        f"""One committer writes for a home ([ADR 3](adr/0003-one-group-committer.md)). Were every track committed by
        itself, it would be busy for {committing}; in groups it takes {f.cost("write_content.cpu")}. The writer that
        places releases holds the catalogue of all warm tracks in memory, {f["fit.memory"]}: see the refit.""",
    )


def imports(f: Figures) -> Step:
    """Tell what it costs to bring a training in."""
    return Step(
        "Import of a training",
        "every night",
        f"tracks {f['import.track_time']}, users {f['import.user_time']}; at least {f['import.memory']} of memory",
        f"{f['import.limit']}, tracks and users together, in the memory of one machine",
        "an import without users",
        "an import in pieces",
        (
            f.line("tracks", "import.cpu", "import.track_time"),
            f.line("users", "import.cpu", "import.user_time"),
            Line("their vectors in memory, once", "4 bytes a dimension", DEFINED, f["import.memory"]),
        ),
        f"""One process reads the files of factors whole, checks them, and writes a table of each. There are
        {f["users"]} of users to {f["warm"]} of tracks, and users are optional: a platform of this size hands a user's
        vector in with the query and with the feedback, or imports those who listen to new music. Whoever folds
        feedback in reads all users of a space once, to know what is common among them.""",
    )


def bridge(f: Figures) -> Step:
    """Tell what it costs to carry cold vectors into a training."""
    return Step(
        "Bridge to the new training",
        "every night",
        f"{f['bridge.time']}; at least {f['bridge.memory']} of memory",
        f"{f['bridge.limit']}, warm and cold, in the memory of one machine",
        "",
        "an alignment fitted on a sample, rows carried in pieces",
        (
            f.line("read, align, carry, one merge; each row of the old space", "bridge.cpu", "bridge.time"),
            Line("vectors of the old space and of the new", "4 bytes a dimension", DEFINED, f["bridge.memory"]),
        ),
        """It is what keeps cold tracks in the answers between an import and its refit. One process holds both spaces
        and writes all rows in one merge, which goes through the keys of the table once.""",
    )


def refit(f: Figures) -> Step:
    """Tell what it costs to fit the transfer."""
    numbers = f"4 bytes times {rounded(f.measured.content_dim.value, 3)} + {f.plain('dim')}"
    return Step(
        "Refit of the transfer",
        "after each training",
        f"{f['fit.time']}, and {f['fit.memory']} of memory",
        f"{f['fit.limit']}, warm ones, in the memory of one machine",
        "for a refresh of what changed: it reads the catalogues of its artists alone",
        "a fit on a sample of the artists; a catalogue read artist by artist in ingest and full refresh",
        (
            Line("fit: as many steps for any number of tracks", f["fit.time"], TRANSFER, f["fit.time"]),
            Line("content and vector of each warm track", numbers, DEFINED, f["fit.memory"]),
        ),
        """The number of optimiser steps does not depend on the number of tracks, so that time is no question; whether
        as many are enough for so many tracks is one, and was not tried. Memory is the limit: the fit, a full refresh
        and every process that ingests hold content and collaborative vector of all warm tracks.""",
    )


def refresh(f: Figures) -> Step:
    """Tell what it costs to project cold tracks anew."""
    m = f.measured
    return Step(
        "Refresh",
        "all after a refit, else what changed",
        f"all: {f['refresh.time']}; {f['changed.rows']} that changed: {f['changed.time']}",
        f"{f['refresh.limit']}: beyond, going through all keys for each group takes longer than its rows",
        "projecting on many machines, by Ray (`anacrusis refresh --ray`); one process stages all the same",
        "larger groups; merges and look-ups by the index of the keys",
        (
            Line("project all", shown(m.project), TRANSFER, f["refresh.project"]),
            f.line("stage the rows of all, one committer", "stage.row.cpu", "refresh.rows"),
            f.line(f"go through all keys for each {STAGE_TRACKS:,} of them", "stage.pass.cpu", "refresh.passes"),
            f.line("look their records and content up, likewise", "lookup.pass.cpu", "refresh.lookups"),
            Line("project what changed", shown(m.project), TRANSFER, f["changed.project"]),
            Line("look it up and stage it", "the three above", UNIT, f["changed.stage"]),
            f.line("the next index, after either", "build_next.cpu", "index.build_next"),
        ),
        f"""Projecting uses all of a machine's {f.plain("cores")} cores ({f["refresh.project_time"]} for all); one
        committer stages, and one process builds the index. A merge that must not put an older row over a newer one goes
        through the keys of the whole table, {f["refresh.pass"]} at this size, and so does a look-up of more than 256
        keys: this part grows with the square of the number of tracks. What changed is cheap to project; the index is
        {f.percent("changed.index_share")} of its refresh. Finding out what changed reads ids, credits and bases of all
        tracks, and is not counted here.""",
    )
