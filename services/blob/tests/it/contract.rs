//! What every store must do. Each case gets an empty store.
//!
//! Another implementation adds a line at the end: the name of its module, and an expression that opens a
//! value with a field `store`; before them an attribute, if its tests need one.

mod cases;

macro_rules! blob_contract {
    ($backend:ident, $open:expr) => {
        blob_contract! { #[cfg(test)] $backend, $open }
    };
    (#$condition:tt $backend:ident, $open:expr) => {
        blob_contract! { #$condition $backend, $open, [
            what_was_written_is_read_back_with_its_hash_and_description,
            an_empty_blob_is_a_blob,
            parts_are_read_from_any_offset_and_end_with_the_blob,
            a_read_behind_the_end_or_of_too_much_is_refused,
            a_blob_is_not_there_before_it_is_finished,
            a_writer_that_is_dropped_leaves_nothing_and_its_name_free,
            a_blob_is_never_replaced,
            of_two_writers_of_one_name_one_wins,
            the_bound_is_kept_to_the_byte,
            a_writer_that_failed_cannot_be_finished,
            what_would_not_fit_is_refused_before_its_first_byte,
            a_deleted_blob_is_gone_and_deleting_it_again_says_so,
            a_blob_that_is_open_may_be_read_to_its_end_while_it_is_deleted,
            pages_name_every_blob_once_in_order,
            old_blobs_expire_and_young_ones_and_others_stay,
            a_sweep_touches_no_living_writer,
            many_write_and_read_at_once,
        ] }
    };
    (#$condition:tt $backend:ident, $open:expr, [$($case:ident),* $(,)?]) => {
        mod $backend {
            $(#$condition
            #[tokio::test]
            async fn $case() {
                let opened = $open.await;
                crate::contract::cases::$case(&opened.store).await;
            })*
        }
    };
}

blob_contract!(directory, crate::directory::TempStore::open());
blob_contract!(
    #[ignore = "needs an S3 server: its step names one"]
    s3,
    crate::s3::TempStore::open()
);
