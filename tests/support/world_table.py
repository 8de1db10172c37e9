"""What people, outages and time do to a release, case by case, and the tests that replay it.

Each case says what happens and what must be so afterwards. The names of tests are `file::test`; those of the browser
application end in the title. `tests/unit/test_world_table.py` holds that they exist and that each case is replayed on
real parts, or says why that is not possible.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Case:
    """`only_model`: why no test on real parts replays it."""

    number: str
    happens: str
    expected: str
    tests: tuple[str, ...]
    only_model: str = ""


def case(number: str, happens: str, expected: str, *tests: str, only_model: str = "") -> Case:
    return Case(number, happens, expected, tests, only_model)


HOLDS, TRUTH, BACK = "test_world_holds.py", "test_world_truth.py", "test_world_back.py"
PLACE, ENDS, GONE = "test_world_place.py", "test_world_ends.py", "test_world_gone.py"
CLUSTER, OUTCOMES = "test_world_cluster.py", "test_world_outcomes.py"

WORLD = (
    case(
        "W1",
        "a canary fails while it is held by a freeze, a request, a pause or suspend",
        "it is rolled back at once",
        f"{HOLDS}::test_a_canary_that_fails_while_it_is_held_is_taken_back_at_once",
    ),
    case(
        "W2",
        "an API that a roll-back does not change is down or forbidden",
        "traffic and page go back at once; each other part follows when its API is back",
        f"{GONE}::test_a_roll_back_waits_for_no_api_that_it_does_not_need",
        "test_world_events.py::test_a_roll_back_needs_only_the_apis_that_it_changes",
        "test_world_events.py::test_a_failed_check_is_acted_on_whatever_else_is_down",
    ),
    case(
        "W3",
        "an undo to a release whose revision was deleted",
        "the revision is created again, or the undo ends and says why; a newer spec gets its turn",
        f"{BACK}::test_an_undo_to_a_release_whose_revision_is_gone_makes_it_again",
        "test_undo.py::test_a_release_that_can_not_be_restored_is_named_with_those_that_can",
    ),
    case(
        "W4",
        "the service is deleted in a canary",
        "it is created again with the stable release; a newer spec gets its turn",
        f"{GONE}::test_a_service_that_is_deleted_in_a_canary_is_made_again_and_a_newer_spec_gets_its_turn",
    ),
    case(
        "W5",
        "the environment names another place, in flight and at rest",
        "the release stays where it is, and the object says so",
        f"{PLACE}::test_a_release_stays_where_it_is_when_its_environment_names_another_region",
        f"{PLACE}::test_a_canary_is_taken_back_where_it_runs",
    ),
    case(
        "W6",
        "the status is wiped, then a bad version is applied",
        "what serves is found again; users stay on it",
        f"{GONE}::test_a_status_that_is_wiped_takes_nothing_from_users",
        f"{ENDS}::test_a_lost_status_reuses_no_attempt",
    ),
    case(
        "W7",
        "the same manifests are applied in a new cluster, with and without the old status",
        "it takes over when a policy allows it, and the old cluster changes nothing any more",
        f"{CLUSTER}::test_nothing_is_done_before_it_is_allowed_and_asked_for",
        f"{CLUSTER}::test_a_canary_goes_on_with_its_saved_status",
        f"{CLUSTER}::test_a_canary_whose_status_is_lost_is_taken_back_and_rolled_out_again",
        f"{CLUSTER}::test_the_cluster_that_comes_back_changes_nothing",
        f"{PLACE}::test_a_service_of_a_lost_cluster_is_taken_over_when_it_is_asked_for_and_allowed",
        f"{PLACE}::test_what_was_abandoned_is_found_by_the_same_deployment_made_again",
    ),
    case(
        "W8",
        "a namespace is deleted and its environment goes first",
        "the environment waits; what is owned is found without it",
        f"{PLACE}::test_deleted_in_any_order_both_end_and_nothing_is_left",
        f"{PLACE}::test_a_deployment_is_deleted_after_its_environment_was_torn_away",
    ),
    case(
        "W9",
        "a deployment is deleted whose jobs no spec and no history names any more",
        "they are found by their owner label",
        "test_release_deletion.py::test_jobs_that_neither_spec_nor_history_name_go_too",
    ),
    case(
        "W10",
        "a deployment is deleted while its migration hangs",
        "the migration is cancelled and everything goes",
        f"{PLACE}::test_deleted_while_a_migration_hangs_it_is_cancelled_and_everything_goes",
    ),
    case(
        "W11",
        "the spec is superseded twice while a migration runs",
        "two migrations never run at the same time",
        f"{PLACE}::test_two_migrations_never_run_at_the_same_time",
    ),
    case(
        "W12",
        "the stop button is pressed before the canary",
        "the next write is held",
        f"{HOLDS}::test_a_stop_in_a_migration_holds_what_comes_after_it",
        "test_decisions_held.py::test_before_the_canary_a_hold_stops_every_write_and_no_look",
    ),
    case(
        "W13",
        "many attempts fail after a promotion",
        "the promoted release can be undone to, and no attempt gets an id twice",
        f"{BACK}::test_failures_do_not_push_a_promoted_release_out",
        f"{ENDS}::test_a_lost_status_reuses_no_attempt",
    ),
    case(
        "W14",
        "a pipeline waits for an invalid spec",
        "its wait is not met",
        f"{TRUTH}::test_an_invalid_spec_ends_no_wait_with_zero",
        f"{OUTCOMES}::test_a_wait_and_a_pipeline_end_as_the_table_says",
    ),
    case(
        "W15",
        "a candidate answers 401 to everybody",
        "it is rejected",
        f"{HOLDS}::test_a_canary_that_answers_401_to_everybody_is_rejected",
    ),
    case(
        "W16",
        "all traffic is on the candidate and a ratio to stable is to be judged",
        "stable is not asked for",
        f"{HOLDS}::test_at_the_full_weight_stable_is_not_asked_for",
    ),
    case(
        "W17",
        "an abort while nothing can be resolved",
        "the rollout ends",
        f"{HOLDS}::test_an_abort_while_nothing_can_be_resolved_stays_an_abort",
    ),
    case(
        "W18",
        "several requests at once, strange values, misspelt annotations",
        "each is answered, in order",
        f"{HOLDS}::test_requests_at_once_are_all_answered_and_strange_ones_are_refused",
    ),
    case(
        "W19",
        "an undo to a release whose secret version is disabled",
        "RollbackReady is false before; the undo changes nothing and says why",
        f"{BACK}::test_an_undo_to_a_release_whose_secret_is_disabled_changes_nothing",
    ),
    case(
        "W20",
        "namespaces and names that concatenate alike, or are long and odd",
        "their cloud names differ",
        f"{GONE}::test_names_that_concatenate_alike_or_are_long_and_odd_never_meet",
        "test_core_place.py::test_no_two_deployments_share_a_cloud_name",
    ),
    case(
        "W21",
        "a second deployment wants the host or the database of the first",
        "it is refused before anything is done",
        f"{PLACE}::test_a_second_deployment_on_a_host_is_refused_before_anything_is_done",
        f"{PLACE}::test_a_second_deployment_on_a_database_is_refused",
    ),
    case(
        "W22",
        "files of the page, rules of the URL map or the traffic are changed by hand",
        "it is seen, said, and set back",
        f"{GONE}::test_files_of_the_page_that_are_gone_are_said_and_a_release_publishes_them",
        f"{GONE}::test_rules_of_the_page_that_are_gone_are_set_back",
        f"{BACK}::test_traffic_that_was_moved_by_hand_in_a_pause_is_shown_and_set_back",
        "test_release_lifecycle.py::test_drift_is_corrected_at_the_next_look",
        f"{ENDS}::test_ready_is_false_while_somebody_keeps_users_elsewhere_under_suspend",
    ),
    case(
        "W23",
        "the CRD of a later version is applied in a canary",
        "the field is named and ignored; nothing is rolled back",
        f"{GONE}::test_a_field_of_a_newer_crd_takes_no_canary_back",
    ),
    case(
        "W24",
        "a policy is deleted and applied again in a canary",
        "the canary is held and goes on",
        f"{PLACE}::test_a_policy_that_is_deleted_and_applied_again_holds_a_canary_and_takes_nothing_back",
    ),
    case(
        "W25",
        "the steps are edited in a canary",
        "the rollout walks the new list and shows it",
        f"{HOLDS}::test_fewer_steps_are_not_fewer_proofs",
        "test_canary_steps.py::test_an_edit_keeps_the_weight_and_never_has_fewer_proofs",
    ),
    case(
        "W26",
        "quantities are written in another notation",
        "no release is made",
        f"{TRUTH}::test_another_name_for_the_same_release_is_shown_and_releases_nothing",
        "test_fingerprint.py::test_what_means_the_same_or_is_no_part_of_what_runs_makes_no_release",
    ),
    case(
        "W27",
        "a revision is superseded before it was verified",
        "it loses its tag at once",
        f"{BACK}::test_a_superseded_revision_can_not_be_reached_any_more",
    ),
    case(
        "W28",
        "the operation of a migration is never answered",
        "the execution is looked at as well, and the release goes on",
        f"{GONE}::test_a_migration_whose_operation_is_never_answered_is_seen_to_have_succeeded",
        "test_engine_place.py::test_an_operation_that_takes_long_is_not_believed_for_ever",
    ),
    case(
        "W29",
        "a job fails; the environment is missing at deletion",
        "the message has the exit code and where the log is, in the words of the field",
        f"{ENDS}::test_a_failed_job_says_its_exit_code_and_where_its_log_is",
        "test_release_deletion.py::test_with_its_environment_gone_everything_goes_all_the_same",
    ),
    case(
        "W30",
        "an environment or policy of a large fleet changes",
        "only the objects that it concerns are woken; an outage of the API server is no bug",
        "test_engine_surroundings.py::test_an_environment_wakes_those_that_name_it",
        "test_engine_surroundings.py::test_a_policy_wakes_the_namespaces_that_it_matched_or_matches",
        "test_engine_records.py::test_a_thousand_rollouts_at_once_keep_what_matters",
        "test_engine_records.py::test_the_phase_of_an_object_is_known_from_first_sight_until_it_is_gone",
        "test_operator_outage.py::test_health_says_when_the_api_server_is_away",
    ),
    case(
        "W31",
        "an operator with one more optional field replaces this one",
        "no release is released again",
        "test_fingerprint.py::test_a_field_that_a_later_version_adds_changes_no_fingerprint",
        "test_fingerprint.py::test_what_an_earlier_version_remembered_is_recognised",
        only_model="it needs an operator of a later version",
    ),
    case(
        "W32",
        "steps are removed while a canary waits at a weight",
        "the proofs that are left are still asked for",
        f"{HOLDS}::test_fewer_steps_are_not_fewer_proofs",
    ),
    case(
        "W33",
        "Monitoring answers without any series",
        "the deadlines end the exposure",
        f"{HOLDS}::test_an_analysis_without_any_series_ends_at_its_deadlines",
    ),
    case(
        "W34",
        "a check is made stricter while its release is checked",
        "it runs again",
        f"{HOLDS}::test_a_check_made_stricter_while_its_release_is_checked_runs_again",
    ),
    case(
        "W35",
        "policy and environment are gone while a canary is held, and promotion is requested",
        "nothing is promoted",
        f"{HOLDS}::test_without_policy_and_environment_nothing_is_promoted",
    ),
    case(
        "W36",
        "an abort while nothing can be resolved is obeyed",
        "the rollout does not start again by itself",
        f"{HOLDS}::test_an_abort_while_nothing_can_be_resolved_stays_an_abort",
    ),
    case(
        "W37",
        "an undo after an undo",
        "it leads to what was stable before, never to what was taken back, and is checked first",
        f"{BACK}::test_undo_leads_to_what_was_stable_before_and_never_to_what_was_taken_back",
    ),
    case(
        "W38",
        "a pipeline waits for Promoted while the checks after promotion run",
        "it is met when the release is stable",
        f"{GONE}::test_promoted_becomes_true_when_the_checks_after_promotion_have_passed",
        "test_conditions_are_true.py::test_a_wait_for_promoted_or_ready_ends_only_with_the_stable_release_of_this_spec",
    ),
    case(
        "W39",
        "a freeze, a stop, suspend, or an environment of the same sync",
        "the wait is in progress, not failed; each kind has a status that ends",
        f"{TRUTH}::test_a_stop_is_a_wait_and_not_a_failure",
        f"{TRUTH}::test_a_suspended_release_is_paused_and_goes_on",
        f"{TRUTH}::test_an_environment_that_arrives_with_the_same_sync_is_waited_for",
        f"{OUTCOMES}::test_a_wait_and_a_pipeline_end_as_the_table_says",
    ),
    case(
        "W40",
        "a request is kept in git",
        "it is obeyed once per spec; lint warns",
        f"{HOLDS}::test_a_request_that_git_keeps_is_obeyed_once",
    ),
    case(
        "W41",
        "CRDs are applied by client, by server, by Argo CD, in any order",
        "they are stored as they are written, without a conflict",
        "test_crds.py::test_the_install_line_works_in_every_order",
        "test_crds.py::test_the_crds_are_stored_as_they_were_applied",
        "test_world_argocd.py::test_the_api_server_stores_all_that_a_crd_says",
    ),
    case(
        "W42",
        "a folder, a namespace or an application is deleted, in any order",
        "every object ends; an environment waits for its deployments",
        f"{PLACE}::test_deleted_in_any_order_both_end_and_nothing_is_left",
        "test_release_deletion.py::test_an_abandoned_object_leaves_everything",
    ),
)

USE = (
    case(
        "F1",
        "a customer types while a release migrates",
        "the checks of the data see one moment",
        "test_app_verify_live.py::test_customers_who_type_all_the_time_fail_no_check",
    ),
    case(
        "F2",
        "a wrong smoke check is corrected and applied",
        "the release is tried again",
        f"{TRUTH}::test_a_release_that_fails_its_checks_ends_a_wait_with_one",
    ),
    case(
        "F3",
        "an undo after many failures",
        "the last good release is still reachable",
        f"{BACK}::test_failures_do_not_push_a_promoted_release_out",
    ),
    case(
        "F4",
        "a spec is tried again after its attempts left the history",
        "it gets a new id and its job runs",
        f"{BACK}::test_failures_do_not_push_a_promoted_release_out",
        f"{ENDS}::test_a_lost_status_reuses_no_attempt",
    ),
    case(
        "F5",
        "a release is backed up and not exposed yet",
        "its weight is 0",
        f"{GONE}::test_a_release_that_is_not_exposed_yet_has_no_weight",
    ),
    case(
        "F6",
        "a forbidden image follows while another release is resolved",
        "no Event says that the stable release was rolled back",
        f"{GONE}::test_no_event_says_that_the_stable_release_was_taken_back_when_a_newer_image_is_forbidden",
    ),
    case(
        "F7",
        "a release that can not go is planned",
        "the plan ends with 1 and the reason",
        f"{TRUTH}::test_a_plan_needs_the_rights_of_a_namespace_only_and_tells_what_can_not_go",
        "test_command_line.py::test_a_plan_that_can_not_go_exits_with_one_and_a_sentence",
    ),
    case(
        "F8",
        "a plan with the rights of a namespace",
        "they suffice",
        f"{TRUTH}::test_a_plan_needs_the_rights_of_a_namespace_only_and_tells_what_can_not_go",
        "test_command_line.py::test_an_offline_plan_needs_no_credentials",
    ),
    case(
        "F9",
        "a second application in an environment with one host",
        "it is told by lint, plan and the object, at the start",
        f"{PLACE}::test_a_second_deployment_on_a_host_is_refused_before_anything_is_done",
        "test_engine_conflicts.py::test_lint_tells_of_two_deployments_that_want_one_host",
    ),
    case(
        "F10",
        "a rebuilt cluster finds services of the old one",
        "there is a way to take them over",
        f"{CLUSTER}::test_a_canary_goes_on_with_its_saved_status",
        f"{PLACE}::test_a_service_of_a_lost_cluster_is_taken_over_when_it_is_asked_for_and_allowed",
    ),
    case(
        "F11",
        "the documented line installs the operator",
        "the API server takes every overlay",
        "test_crds.py::test_every_overlay_is_taken_by_the_api_server",
        "test_crds.py::test_the_install_line_works_in_every_order",
    ),
    case(
        "F12",
        "a conversation gets long",
        "its limit is announced, and it leads to a new one",
        "frontend/e2e/limits.spec.ts::"
        "a long conversation goes on, warns before its limit, and hands words over to a new one",
    ),
    case(
        "F13",
        "an answer has a table",
        "no word is broken",
        "frontend/e2e/answers.spec.ts::a table breaks no word and the page does not scroll sideways",
    ),
    case(
        "F14",
        "a bundle has another digest",
        "it is told before the backup",
        f"{TRUTH}::test_a_wrong_digest_is_told_before_anything_is_backed_up_or_migrated_and_once",
    ),
    case(
        "F15",
        "a migration fails",
        "the message has its exit code and a link to the log",
        f"{ENDS}::test_a_failed_job_says_its_exit_code_and_where_its_log_is",
    ),
    case(
        "F16",
        "an image, a secret or a bundle is missing; a request is refused",
        "each has one Event",
        f"{TRUTH}::test_a_missing_secret_has_one_event_and_a_field",
        f"{TRUTH}::test_a_wrong_digest_is_told_before_anything_is_backed_up_or_migrated_and_once",
        "test_notices.py::test_what_stands_in_the_way_is_told_once",
    ),
    case(
        "F17",
        "a field is misspelt",
        "the API server and lint name it",
        "test_crds.py::test_the_api_server_names_the_field",
        "test_api_suggest.py::test_a_misspelt_field_is_named_with_the_one_that_was_meant",
    ),
    case(
        "F18",
        "a condition is shown on the dashboard",
        "its colour says what it means",
        "test_dashboard_views.py::test_the_tone_of_a_condition_is_what_it_means",
        only_model="a colour is a class of the page",
    ),
    case(
        "F19",
        "a phase has a deadline",
        "the page says what happens then",
        "test_dashboard_views.py::test_what_happens_at_a_deadline_is_said",
        only_model="a sentence of the page",
    ),
    case(
        "F20",
        "a release has no database, page or alerts",
        "their conditions are NotRequested; RollbackReady is false",
        f"{TRUTH}::test_an_environment_that_arrives_with_the_same_sync_is_waited_for",
        "test_status_facts.py::test_parts_that_the_spec_does_not_ask_for_are_not_requested",
    ),
    case(
        "F21",
        "traffic is moved without the operator",
        "the runbook's command finds service, revision, project and region",
        f"{CLUSTER}::test_the_runbook_finds_service_revision_project_and_region",
    ),
    case(
        "F22",
        "an answer is stopped",
        "it is marked, also after a reload",
        "test_app_replay.py::test_an_answer_that_was_stopped_comes_back_as_far_as_it_was_shown",
        "frontend/tests/turns.test.ts::are marked where they stand",
    ),
    case(
        "F23",
        "a control goes away",
        "the writing field has the focus",
        "frontend/e2e/focus.spec.ts::"
        "the writing field has the focus on arrival and after each action that takes its control away",
    ),
    case(
        "F24",
        "an address of an unknown conversation is opened",
        "the page says so",
        "frontend/e2e/limits.spec.ts::the conversation of another account looks like one that does not exist",
    ),
    case(
        "F25",
        "the page is loaded over a slow network",
        "its size is within the budget",
        "test_frontend_bundle.py::test_the_size_report_is_of_these_files_and_within_the_budget",
        only_model="the build is measured",
    ),
    case(
        "F26",
        "a small window",
        "a first visit is shown from its top",
        "frontend/e2e/focus.spec.ts::a window of 640 by 400 shows a first visit from its top",
    ),
    case(
        "F27",
        "only the version changes",
        "the column shows what the spec asks for",
        f"{TRUTH}::test_another_name_for_the_same_release_is_shown_and_releases_nothing",
    ),
    case(
        "F28",
        "`kubectl get -w` follows a rollout",
        "few lines repeat",
        f"{OUTCOMES}::test_a_rollout_that_is_watched_repeats_few_lines",
    ),
    case(
        "F29",
        "a canary has no traffic",
        "data are advised before promotion",
        "test_status_facts.py::test_a_quiet_canary_is_advised_traffic_before_promotion",
        only_model="a sentence of the status",
    ),
    case(
        "F30",
        "a long text is pasted",
        "it is kept, and its length is said",
        "frontend/e2e/limits.spec.ts::a paste that is too long is kept, and its length is said",
    ),
)
CASES = (*WORLD, *USE)
