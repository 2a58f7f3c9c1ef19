//! End-to-end tests over real processes and sockets live in `tests/it`, one binary.
