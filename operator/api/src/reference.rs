//! Stub
/// r
pub fn reference() -> String {
    String::new()
}
