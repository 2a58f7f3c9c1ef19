//! im-codec
