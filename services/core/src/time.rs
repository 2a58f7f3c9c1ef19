//! Wall-clock time as the protocol carries it.

use std::time::{SystemTime, UNIX_EPOCH};

/// A point in time: whole seconds since the beginning of 1970 (UTC), 32 bit unsigned as on the wire, so
/// until 2106. Clients, other servers and the store see this number; inside a server it is neither a
/// duration nor an [`Instant`](std::time::Instant), and nothing turns into it by itself.
///
/// Arithmetic stops at both ends instead of going round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixSeconds(u32);

impl UnixSeconds {
    /// The beginning of 1970. In a question "since when" it means everything.
    pub const EPOCH: Self = Self(0);

    /// The latest time that there is.
    pub const MAX: Self = Self(u32::MAX);

    /// What the system's clock shows; 1970 for a clock before that.
    pub fn now() -> Self {
        Self(u32::try_from(unix_millis() / 1000).unwrap_or(u32::MAX))
    }

    /// Reads a time from the wire or from a row.
    pub const fn from_wire(seconds: u32) -> Self {
        Self(seconds)
    }

    /// The number as it travels.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// So many seconds earlier, 1970 at the earliest.
    #[must_use]
    pub const fn saturating_sub(self, seconds: u32) -> Self {
        Self(self.0.saturating_sub(seconds))
    }

    /// So many seconds later, [`Self::MAX`] at the latest.
    #[must_use]
    pub const fn saturating_add(self, seconds: u32) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from an earlier time to this one; 0 if that lies later.
    pub const fn seconds_since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// As a signed number of the store holds it.
impl From<UnixSeconds> for i64 {
    fn from(time: UnixSeconds) -> Self {
        Self::from(time.0)
    }
}

/// Unix milliseconds; 0 for a clock before 1970.
pub fn unix_millis() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_both_ends() {
        let time = UnixSeconds::from_wire(1_000);
        assert_eq!(time.saturating_add(5).get(), 1_005);
        assert_eq!(time.saturating_sub(5).get(), 995);
        assert_eq!(time.saturating_sub(1_001), UnixSeconds::EPOCH);
        assert_eq!(UnixSeconds::MAX.saturating_add(1), UnixSeconds::MAX);
        assert_eq!(time.saturating_add(5).seconds_since(time), 5);
        assert_eq!(time.seconds_since(time.saturating_add(5)), 0);
    }

    #[test]
    fn the_clock_shows_whole_seconds_of_the_same_time_as_its_milliseconds() {
        let before = unix_millis() / 1_000;
        let now = u64::from(UnixSeconds::now().get());
        let after = unix_millis() / 1_000;
        assert!((before..=after).contains(&now), "{before} {now} {after}");
    }
}
