//! im-msg
