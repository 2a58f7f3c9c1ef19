//! im-login
