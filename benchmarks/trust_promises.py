"""What is promised of trust, and what shows each promise: the rows of docs/results/trust.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Result = Mapping[str, Any]


@dataclass(frozen=True)
class Promise:
    """What is promised, and what shows it.

    Attributes
    ----------
    words : str
    tests : tuple of str
        ``tests/FILE.py::NAME``; each has to be there.
    result : str
        Name of the result that has its figures; empty where the tests alone show it.
    cases, outcome : callable, optional
        Take the figures out of it.
    """

    words: str
    tests: tuple[str, ...]
    result: str = ""
    cases: Callable[[Result], str] = lambda result: ""
    outcome: Callable[[Result], str] = lambda result: ""


def _kills(result: Result) -> str:
    return f"{sum(result['crashes']['kills'].values()):,} kills"


def _acknowledged(result: Result) -> str:
    return f"{_kills(result)}, {sum(result['crashes']['acknowledged'].values()):,} acknowledged operations"


def _found(result: Result, *parts: str) -> str:
    return f"{sum(result[part]['found'] for part in parts)} ended as they must not"


def _most_growth_mib(result: Result) -> str:
    (growth,) = (check["measured"] for check in result["checks"] if "memory" in check["name"])
    return f"at most {growth:,.1f} MiB more"


SOAK = "tests/end_to_end/test_soak.py::test_nothing_acknowledged_is_lost_behind_kills"
DOCTOR = "tests/jobs/test_jobs_doctor.py"
MANY = "tests/grpc_service/test_grpc_many_at_once.py"
FAULTY = "tests/index/test_index_faulty_store.py"
CLOCK = "tests/jobs/test_jobs_wrong_clock.py"
FLOODS = "tests/grpc_service/test_grpc_floods.py"
POOL = "tests/encoders/test_decoding_pool.py"
REFERENCES = "tests/encoders/test_references.py"
FUZZ = "tests/fuzz/test_fuzz.py"
CALLS = "tests/grpc_service/test_grpc_fuzz.py"
ACCESS = "tests/grpc_service/test_grpc_access.py"
TLS = "tests/grpc_service/test_grpc_tls.py"
AUDIT = "tests/grpc_service/test_grpc_audit.py"
URIS = "tests/grpc_service/test_grpc_uris.py"
METRICS = "tests/grpc_service/test_grpc_metrics.py"
LOGS = "tests/grpc_service/test_grpc_logs.py"
TRACES = "tests/grpc_service/test_grpc_traces.py"
DASHBOARD = "tests/grpc_service/test_grpc_dashboard.py"
PROMISES = (
    Promise(
        "What was acknowledged survives `kill -9`",
        (SOAK,),
        "soak",
        _acknowledged,
        lambda result: f"{result['crashes']['lost']} lost",
    ),
    Promise(
        "Nothing is there twice",
        (SOAK, f"{DOCTOR}::test_a_key_that_stands_there_twice_keeps_its_newest_row"),
        "soak",
        _acknowledged,
        lambda result: f"{result['crashes']['duplicated']} duplicated",
    ),
    Promise(
        "A publish happens as a whole or not at all",
        (SOAK,),
        "soak",
        _kills,
        lambda result: f"{result['crashes']['half_published']} half-published",
    ),
    Promise(
        "No answer mixes spaces or shows what is withdrawn",
        (SOAK,),
        "soak",
        lambda result: f"{result['crashes']['answers_checked']:,} answers",
        lambda result: f"{result['crashes']['wrong_answer']} wrong",
    ),
    Promise(
        "What clients send at once is taken in once, and a withdrawal among it wins",
        (
            f"{MANY}::test_a_release_that_many_send_at_once_is_taken_in_once",
            f"{MANY}::test_a_withdrawal_among_ingests_of_the_same_track_wins",
        ),
    ),
    Promise(
        "Every reply keeps the rules while trainings come and go",
        (f"{MANY}::test_every_reply_keeps_the_rules_while_trainings_come_and_go",),
    ),
    Promise(
        "Several processes on one home store nothing twice, and are not in each other's way",
        (
            f"{MANY}::test_two_servers_of_one_home_store_nothing_twice",
            f"{DOCTOR}::test_whoever_is_at_work_is_not_disturbed",
        ),
    ),
    Promise(
        "An object store that throttles, or whose replies get lost, loses and doubles nothing",
        (
            f"{FAULTY}::test_a_commit_whose_reply_is_lost_counts_once",
            f"{FAULTY}::test_a_few_faults_are_got_over",
            f"{FAULTY}::test_a_store_that_throttles_for_good_is_told_and_served_on_from_memory",
        ),
    ),
    Promise(
        "A clock that jumps changes neither what is served nor the way back",
        (
            f"{CLOCK}::test_what_is_published_last_is_served_and_can_be_gone_back_from",
            f"{CLOCK}::test_an_upkeep_by_a_clock_that_is_years_ahead_leaves_what_is_served_and_the_way_back",
        ),
    ),
    Promise(
        "The soak can fail: a store that acknowledges before it commits is found out",
        ("tests/end_to_end/test_soak.py::test_a_store_that_acknowledges_before_it_commits_is_found_out",),
    ),
    Promise(
        "A library that panics ends neither a call nor a queue",
        (
            "tests/grpc_service/test_grpc_panics.py::test_whoever_called_is_told_and_the_next_call_is_answered",
            "tests/index/test_index_read_while_merged.py::test_nobody_reads_from_what_is_merged_into",
        ),
    ),
    Promise(
        "Connections are bounded, and leave files for the home",
        (
            "tests/grpc_service/test_grpc_connections.py::test_files_are_left_for_the_home",
            "tests/index/test_index_no_file_left.py::test_it_is_not_taken_for_damage",
        ),
    ),
    Promise(
        "A full disk is told, harms nothing, and is got over without a restart",
        ("tests/jobs/test_jobs_full_disk.py::test_a_full_disk_is_told_and_harms_nothing",),
    ),
    Promise(
        "Damage is named, and repaired where that loses nothing",
        (
            f"{DOCTOR}::test_an_index_is_built_anew",
            f"{DOCTOR}::test_a_table_that_cannot_be_read_is_named_and_left_alone",
            f"{DOCTOR}::test_a_lease_that_nobody_is_behind_is_set_free",
        ),
    ),
    Promise(
        "Slow uploads are cut off",
        (
            f"{FLOODS}::test_an_upload_that_stands_still_is_cut_off_and_gives_back_what_it_held",
            f"{FLOODS}::test_an_upload_that_drips_is_cut_off_too",
        ),
    ),
    Promise(
        "Replies that nobody reads are not piled up", (f"{FLOODS}::test_replies_that_nobody_reads_are_not_piled_up",)
    ),
    Promise(
        "Idle connections keep nobody from an answer",
        (f"{FLOODS}::test_hundreds_of_idle_connections_keep_nobody_from_an_answer",),
        "soak",
        lambda result: f"{result['steady']['idle_connections']:,} connections",
        lambda result: f"{result['steady']['idle_bytes_each']:,} bytes each",
    ),
    Promise(
        "Memory stays flat under mixed load",
        (),
        "soak",
        lambda result: f"{result['steady']['seconds'] / 60:,.0f} minutes",
        lambda result: f"{result['steady']['growth_mib_per_hour']:+,.1f} MiB an hour",
    ),
    Promise(
        "A file that makes a decoder hang, grow or crash is refused alone, and the next one is decoded",
        (
            "tests/jobs/test_jobs_decoding.py::test_a_decoder_that_hangs_refuses_one_track_and_delays_no_other_for_ever",
            f"{POOL}::test_what_eats_memory_dies_alone",
            f"{POOL}::test_a_file_that_kills_two_processes_is_refused",
        ),
    ),
    Promise(
        "Whoever decodes can open nothing, knows no secret, and ends with the service",
        (
            f"{POOL}::test_the_process_can_open_nothing_and_knows_nothing",
            f"{POOL}::test_a_caller_that_is_killed_leaves_nothing_behind",
            f"{POOL}::test_a_closed_pool_leaves_nothing_behind",
        ),
    ),
    Promise(
        "Playlists, and files whose sound lies in others, are refused",
        (
            f"{REFERENCES}::test_a_list_of_other_files_is_no_audio",
            f"{REFERENCES}::test_a_track_that_lies_in_another_file",
            f"{REFERENCES}::test_a_movie_that_names_others",
        ),
    ),
    Promise(
        "To decode in a process of its own costs little",
        (),
        "decoding",
        lambda result: f"{result['audio_s'] / 60:,.0f} minutes of music",
        lambda result: f"{result['checks'][0]['measured']:.2f} of the time without",
    ),
    Promise(
        "Mutated audio of every container is decoded, or refused with a reason of its own",
        (f"{FUZZ}::test_some_audio", f"{FUZZ}::test_audio_that_once_found_something"),
        "fuzz",
        lambda result: f"{result['audio']['cases']:,} files",
        lambda result: _found(result, "audio"),
    ),
    Promise(
        "Mutated manifests, factors, events, listens, settings and tokens are read, or refused in a sentence",
        (f"{FUZZ}::test_some_files", f"{FUZZ}::test_a_file_that_once_found_something"),
        "fuzz",
        lambda result: f"{result['files']['cases']:,} files",
        lambda result: _found(result, "files"),
    ),
    Promise(
        "Whatever a call's bytes are, it ends in time, with a known reason, and tells nothing of the inside",
        (f"{CALLS}::test_some_mutated_messages", f"{CALLS}::test_some_messages_of_any_fields"),
        "fuzz",
        lambda result: f"{result['messages']['cases'] + result['messages_real_engine']['cases']:,} calls",
        lambda result: _found(result, "messages", "messages_real_engine"),
    ),
    Promise(
        "A server's memory stands still under them",
        (),
        "fuzz",
        lambda result: f"{result['messages']['cases'] + result['messages_real_engine']['cases']:,} calls",
        _most_growth_mib,
    ),
    Promise(
        "Beyond the loopback no server is open, unless told twice",
        (
            "tests/grpc_service/test_grpc_exposure.py::test_it_takes_two_to_do_without",
            "tests/architecture/test_deploy.py::test_every_server_is_protected_or_is_told_twice",
        ),
    ),
    Promise(
        "No token reaches a method above its role, and what is no token reaches none",
        (
            f"{ACCESS}::test_every_method_there_is_has_a_role",
            f"{ACCESS}::test_no_token_of_a_lower_role_reaches_a_method_above_it",
            f"{ACCESS}::test_whatever_is_sent_for_a_token_lets_nobody_in",
            f"{ACCESS}::test_one_comparison_is_made_whatever_is_sent",
        ),
    ),
    Promise(
        "A revoked token is refused within a second, and what is in progress under it is cut off",
        (
            f"{ACCESS}::test_the_server_itself_looks_for_new_tokens",
            f"{ACCESS}::test_what_is_in_progress_is_cut_off_with_its_token",
        ),
    ),
    Promise(
        "A certificate is renewed without a restart, and one that cannot be used leaves the one before",
        (f"{TLS}::test_a_new_certificate_is_shown_without_a_restart",),
    ),
    Promise(
        "No caller takes what others need",
        (
            f"{ACCESS}::test_more_than_a_share_is_refused_for_a_while",
            f"{ACCESS}::test_nobody_holds_more_calls_open_than_its_share",
        ),
    ),
    Promise(
        "What administrators do is written down before it is done, or not done",
        (
            f"{AUDIT}::test_an_act_is_on_the_disk_before_it_begins",
            f"{AUDIT}::test_what_cannot_be_written_down_is_not_done",
        ),
    ),
    Promise(
        "A URI leads to no file outside of the allowed roots, whatever is swapped meanwhile",
        (
            f"{URIS}::test_no_link_leads_out_and_a_twin_of_the_root_is_not_below_it",
            f"{URIS}::test_whatever_is_swapped_meanwhile_no_secret_is_read",
        ),
    ),
    Promise(
        "Calls, refusals, queues, stages and what is served are told to Prometheus, by each worker what it did",
        (
            f"{METRICS}::test_calls_are_counted_by_method_and_code_and_errors_by_reason",
            f"{METRICS}::test_a_search_is_counted_by_stage_and_size",
            f"{METRICS}::test_ingests_are_counted_by_stage_state_tier_and_confidence",
            f"{METRICS}::test_what_is_served_and_what_waits_are_told",
            "tests/end_to_end/test_workers.py::test_what_one_worker_acknowledges_all_of_them_show",
        ),
    ),
    Promise(
        "Ready is apart from alive, and a server that is stuck still says so",
        (
            f"{METRICS}::test_ready_is_apart_from_alive",
            f"{METRICS}::test_a_stuck_event_loop_is_not_alive_and_still_tells_its_metrics",
        ),
    ),
    Promise(
        "What fails is one line in the log under the caller's request id, and holds nothing that was sent",
        (
            f"{LOGS}::test_a_refused_call_is_one_line_and_one_that_goes_well_none",
            f"{LOGS}::test_neither_secrets_nor_contents_are_logged",
            f"{LOGS}::test_a_flood_of_refusals_is_none_of_lines",
        ),
    ),
    Promise(
        "A call can be traced with its stages, below its caller's span",
        (
            f"{TRACES}::test_a_query_has_a_span_with_its_stages_below_the_callers",
            f"{TRACES}::test_releases_that_go_in_together_are_all_told_the_stages",
            f"{TRACES}::test_spans_reach_a_collector_before_a_drained_server_is_gone",
        ),
    ),
    Promise(
        "Dashboard and alerts ask only what is told; alerts come when they should, by promtool where it is installed",
        (
            f"{DASHBOARD}::test_every_figure_and_label_that_is_asked_for_is_told",
            f"{DASHBOARD}::test_every_alert_is_tested_and_says_how_urgent_it_is",
            f"{DASHBOARD}::test_prometheus_own_tool_agrees",
        ),
    ),
    Promise(
        "The defences cost little",
        (),
        "defences",
        lambda result: f"{result['repeats']} turns, {result['clients']} callers, {result['tracks']:,} tracks",
        lambda result: (
            f"{result['unary']['share']:.0%} of the single queries, {result['batch']['share']:.0%} of the batches"
        ),
    ),
)
