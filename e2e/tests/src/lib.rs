//! im-e2e-tests
