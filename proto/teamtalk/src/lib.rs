//! im-proto-teamtalk
