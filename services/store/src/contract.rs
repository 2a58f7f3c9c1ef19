//! What every store must do. Each case gets an empty store; [`store_contract!`](crate::store_contract) makes a
//! test of each.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_errors_doc,
    missing_docs,
    reason = "tests, which fail by panicking and say by their names what they show"
)]

pub mod accounts;
pub mod administration;
pub mod announcements;
pub mod audit;
pub mod bots;
pub mod changes;
pub mod contents;
pub mod devices;
pub mod directory;
pub mod discovery_items;
pub mod followers;
pub mod groups;
pub mod incoming;
pub mod log;
pub mod logins;
pub mod messages;
pub mod meters;
pub mod retention;
pub mod sessions;
pub mod subscriptions;
pub mod tenures;
pub mod transfer;
pub mod unread_model;

/// Makes a test of each case of the contract, in a module `backend` with one module per trait. `open` is a future of something
/// whose field `store` is an empty store, and which lives as long as the case. Attributes go to every test.
#[macro_export]
macro_rules! store_contract {
    ($(#[$attribute:meta])* $backend:ident, $open:expr) => {
        $crate::store_contract! { $(#[$attribute])* $backend, $open, {
            accounts: [
                finds_credentials_by_exact_name,
                sets_a_hash,
                reads_profiles_by_id_and_name,
                finds_profiles_by_part_of_name_or_nick,
                changes_of_profiles_are_stamped,
                changes_of_nobody_are_not_found,
                keeps_the_push_shield,
            ]
            administration: [
                a_rehearsed_import_tells_field_by_field_and_changes_nothing,
                people_are_renamed_and_taken_out,
                groups_are_listed_by_page_renamed_and_given_to_a_member,
                departments_are_renamed_moved_and_removed_and_come_back,
                a_department_is_made_with_those_above_it_and_comes_back,
                people_stand_by_name_in_pages,
                members_of_groups_are_counted_named_and_paged,
            ]
            announcements: [
                an_announcement_is_for_those_who_may_log_in_but_its_sender,
                an_announcement_goes_on_where_it_was_until_it_is_done,
                a_cancelled_announcement_counts_what_was_under_way_and_ends,
                an_announcement_that_has_failed_says_why_and_the_next_has_its_turn,
                so_many_announcements_are_open_and_so_many_that_ended_are_kept,
                keys_of_messages_are_found_behind_a_position,
            ]
            audit: [
                every_change_of_a_noting_store_writes_its_row,
                a_change_that_fails_writes_no_row,
                the_log_is_listed_newest_first_filtered_and_by_page,
                old_rows_are_dropped_and_the_chain_goes_on,
                a_clock_that_steps_breaks_no_chain,
                a_key_is_kept_with_its_change_and_known_from_then_on,
                so_many_keys_are_kept_and_old_ones_make_room,
                tokens_are_kept_listed_and_revoked,
            ]
            bots: [
                a_bot_is_made_with_its_token_listed_apart_changed_and_removed,
                a_bot_that_is_switched_off_or_removed_has_no_token,
                subscriptions_of_a_bot_go_with_it_and_others_stay,
                a_bot_has_no_credentials_and_files_of_people_leave_it_alone,
                another_token_ends_the_former_one_now_or_later,
                there_are_as_many_bots_and_tokens_as_there_may_be,
                a_bot_is_told_of_what_others_write_where_it_is,
                what_a_bot_is_told_of_stops_at_its_bounds,
            ]
            changes: [
                whoever_changes_a_group_or_the_directory_writes_to_the_log_of_changes,
                what_fails_leaves_nothing_in_the_log_of_changes,
                old_changes_and_those_beyond_a_bound_are_dropped,
                a_file_that_is_ready_is_noted_once_while_the_log_tells_of_it,
            ]
            contents: [
                what_fills_a_store_is_what_is_read_of_it,
                a_store_that_has_rows_is_not_filled,
                what_fills_a_store_is_there_as_a_whole_or_not_at_all,
                reading_is_one_moment_and_waits_for_whoever_receives,
            ]
            devices: [
                a_person_has_several_devices_up_to_a_bound,
                a_token_has_one_owner,
                a_session_takes_its_devices_along,
                a_device_that_was_registered_anew_is_not_dropped,
                targets_tell_whether_the_night_is_shielded,
            ]
            directory: [
                imports_people_and_departments,
                an_equal_import_changes_nothing,
                an_import_leaves_out_fields_alone,
                conflicts_apply_nothing,
                new_ids_avoid_those_that_the_file_names,
                tells_whose_account_was_disabled,
                changed_since_is_strict_and_misses_nothing,
                pages_end_between_stamps,
                the_first_page_leaves_out_people_who_left,
                imports_fifty_thousand_people_quickly,
            ]
            discovery_items: [discovery_items_are_kept_listed_changed_and_removed]
            followers: [
                a_new_name_begins_where_it_is_told_and_goes_on_where_it_was,
                a_holder_of_an_earlier_epoch_stores_nothing,
                what_is_due_comes_longest_overdue_first,
                what_is_due_too_late_is_due_earlier_and_nothing_else_is,
                names_know_nothing_of_each_other,
            ]
            groups: [
                creates_groups_with_members,
                a_group_needs_a_free_conversation_row,
                adds_and_removes_members_with_versions,
                joining_anew_hides_what_came_before,
                changing_a_missing_group_is_not_found,
                lists_groups_most_recently_changed_first,
                shields_are_kept_per_member,
            ]
            incoming: [incoming_hooks_are_kept_listed_and_removed]
            logins: [
                remembers_a_verified_login_of_the_hash_that_was_verified,
                a_new_hash_or_status_drops_what_is_remembered,
                a_new_hash_is_stored_with_what_is_remembered_of_it,
                renews_what_is_remembered_and_old,
                counts_failures_inside_the_window,
                failures_after_now_count_nowhere,
                a_failure_counts_at_all_its_addresses,
                cleared_failures_leave_the_networks_counts,
                failures_of_names_that_nobody_has_push_nobody_out,
                locks_of_real_names_leave_by_age_only,
                remembers_a_bounded_number_of_failures,
                lists_and_forgets_failures,
                a_new_password_ends_a_lock,
            ]
            messages: [
                an_empty_store_has_an_empty_log,
                stores_and_reads_back,
                batches_of_every_size_are_stored_whole,
                the_log_is_read_in_order_and_pages,
                history_is_newest_first_and_bounded,
                history_goes_forwards_too,
                messages_by_id,
                reads_stop_at_their_bytes,
                latest_id_of_each_conversation,
                states_come_in_the_order_asked,
                recent_keys_are_bounded_by_age_and_number,
                recent_group_senders_are_bounded_by_age_and_number,
                a_taken_log_position_is_refused,
                a_taken_message_id_is_refused,
                a_taken_conversation_row_is_refused,
                a_conversation_begun_twice_is_refused,
                an_outdated_writer_is_refused_even_with_free_keys,
                a_batch_with_gaps_is_refused,
                a_failed_batch_leaves_nothing_behind,
                bodies_are_opaque,
            ]
            meters: [levels_are_replaced_and_forgotten]
            retention: [
                bodies_of_old_messages_go_step_by_step_and_their_rows_stay,
                nothing_behind_the_position_that_may_be_reached_goes,
            ]
            sessions: [
                recents_are_newest_first,
                recents_after_a_time_and_at_most_so_many,
                a_group_is_recent_once_it_has_a_message_for_the_member,
                removed_sessions_reappear_with_a_newer_message,
                what_is_not_listed_cannot_be_removed,
                read_positions_only_grow,
                read_positions_of_strangers_are_not_stored,
                unread_counts_leave_own_messages_out,
                unread_counts_of_groups_begin_at_the_join,
                pending_positions_win,
                lists_stop_at_their_bytes_and_leave_long_bodies_out,
                former_members_have_no_session,
                related_users_come_from_pairs_groups_and_departments,
            ]
            subscriptions: [
                a_subscription_begins_where_it_is_told_and_is_listed_until_it_is_removed,
                there_are_so_many_subscriptions_at_most,
                the_former_secret_stays_beside_the_new_one,
                a_step_moves_the_position_and_keeps_deliveries,
                a_step_under_an_old_epoch_stores_nothing,
                so_many_ended_deliveries_stay_and_none_that_waits_goes,
                a_delivery_that_ended_is_made_again,
                a_follower_that_is_rewound_begins_an_epoch,
                a_subscription_has_a_place_of_its_own_in_each_log,
            ]
            tenures: [
                a_log_is_taken_at_its_end_and_every_taking_is_a_later_tenure,
                whoever_has_not_taken_the_log_stores_nothing,
                after_the_log_was_taken_nothing_of_the_former_owner_is_stored,
                after_the_log_was_taken_the_former_owner_changes_no_group,
                a_change_of_a_group_is_refused_where_the_log_does_not_end,
                a_batch_on_its_way_is_before_the_taking_or_never,
            ]
            transfer: [
                rows_that_are_taken_over_keep_their_ids_and_are_changed_by_them,
                messages_that_are_taken_over_are_read_and_stored_with_their_states,
                a_former_owner_takes_nothing_over,
            ]
            unread_model: [agrees_with_a_naive_model]
        } }
    };
    ($(#[$attribute:meta])* $backend:ident, $open:expr, $areas:tt) => {
        mod $backend {
            $crate::store_contract! { @areas [$(#[$attribute])*] $open, $areas }
        }
    };
    (@areas $attributes:tt $open:expr, { $($area:ident: $cases:tt)* }) => {
        $(mod $area {
            $crate::store_contract! { @cases $attributes $open, $area, $cases }
        })*
    };
    (@cases $attributes:tt $open:expr, $area:ident, [$($case:ident),* $(,)?]) => {
        $($crate::store_contract! { @case $attributes $open, $area, $case })*
    };
    (@case [$(#[$attribute:meta])*] $open:expr, $area:ident, $case:ident) => {
        #[tokio::test]
        $(#[$attribute])*
        async fn $case() {
            let opened = $open.await;
            $crate::contract::$area::$case(&opened.store).await;
        }
    };
}
