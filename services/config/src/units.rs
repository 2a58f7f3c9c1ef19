//! Durations and sizes with their unit written out: `"30s"`, `"64MiB"`.
//!
//! A number without a unit is refused, so that nobody has to know which one a key counts in.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A text that is no amount of its kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {expected}, is {found:?}")]
pub struct UnitError {
    expected: &'static str,
    found: String,
}

/// A length of time in whole milliseconds: `"250ms"`, `"30s"`, `"1h 30m"`, `"30d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    const EXPECTED: &'static str = "a time with its unit, such as \"250ms\", \"30s\" or \"1h 30m\"";

    /// No time at all; for most keys, "off".
    pub const ZERO: Self = Self(0);

    /// So many milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// So many days of 24 hours.
    pub const fn days(days: u64) -> Self {
        Self::seconds(days * 86_400)
    }

    /// The milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The milliseconds where 32 bits count them; more than fits is the largest number.
    pub fn as_millis_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// The whole seconds, rounded down.
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// The whole seconds where 32 bits count them; more than fits is the largest number.
    pub fn as_seconds_u32(self) -> u32 {
        u32::try_from(self.as_seconds()).unwrap_or(u32::MAX)
    }

    /// The same for a clock.
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.duration()
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("d", 86_400_000),
            ("h", 3_600_000),
            ("m", 60_000),
            ("s", 1_000),
        ];
        let unit = UNITS
            .into_iter()
            .find(|(_, size)| self.0 != 0 && self.0.is_multiple_of(*size));
        match unit {
            Some((unit, size)) => write!(f, "{}{unit}", self.0 / size),
            None if self.0 == 0 => f.write_str("0s"),
            None => write!(f, "{}ms", self.0),
        }
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let refused = || UnitError {
            expected: Self::EXPECTED,
            found: text.to_owned(),
        };
        let time = humantime::parse_duration(text).map_err(|_| refused())?;
        // humantime takes a bare 0, which has no unit.
        if text.trim().bytes().all(|byte| byte.is_ascii_digit())
            || time.subsec_nanos() % 1_000_000 != 0
        {
            return Err(refused());
        }
        u64::try_from(time.as_millis())
            .map(Self)
            .map_err(|_| refused())
    }
}

/// A number of bytes: `"512B"`, `"4KiB"`, `"64MiB"`, `"1.5GiB"`; `kB`, `MB` and `GB` count in
/// thousands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    const EXPECTED: &'static str = "a size with its unit, such as \"512B\", \"4KiB\" or \"64MiB\"";

    /// Nothing; for most keys, "off".
    pub const ZERO: Self = Self(0);

    /// So many bytes.
    pub const fn bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many KiB.
    pub const fn kib(kib: u64) -> Self {
        Self(kib << 10)
    }

    /// So many MiB.
    pub const fn mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The bytes.
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// The bytes as a length in memory; more than fits is the longest length.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The bytes where 32 bits count them; more than fits is the largest number.
    pub fn as_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }

    /// The whole KiB, rounded down; more than fits in 32 bits is the largest number.
    pub fn as_kib(self) -> u32 {
        u32::try_from(self.0 >> 10).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
        let unit = UNITS
            .into_iter()
            .find(|(_, shift)| self.0 != 0 && self.0.trailing_zeros() >= *shift);
        match unit {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let has_unit = text.trim_end().ends_with(['b', 'B']);
        match bytesize::ByteSize::from_str(text) {
            Ok(size) if has_unit => Ok(Self(size.as_u64())),
            _ => Err(UnitError {
                expected: Self::EXPECTED,
                found: text.to_owned(),
            }),
        }
    }
}

/// Written and read as text; the schema says which.
macro_rules! as_text {
    ($type:ident, $pattern:literal, $examples:expr) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                /// Numbers are read only to be refused with the same words.
                #[derive(Deserialize)]
                #[serde(untagged)]
                enum Given<'a> {
                    Text(Cow<'a, str>),
                    Number(f64),
                }
                let text = match Given::deserialize(deserializer)? {
                    Given::Text(text) => text,
                    Given::Number(number) => number.to_string().into(),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": $examples })
            }
        }
    };
}

as_text!(
    Span,
    r"^([0-9]+ *[a-zA-Z]+ *)+$",
    ["250ms", "30s", "1h 30m"]
);
as_text!(
    ByteSize,
    r"^[0-9]+(\.[0-9]+)? *[kKMGTP]?i?[bB]$",
    ["512B", "4KiB", "64MiB"]
);

#[cfg(test)]
mod tests {
    use super::*;

    fn span(text: &str) -> Option<u64> {
        text.parse().ok().map(Span::as_millis)
    }

    fn size(text: &str) -> Option<u64> {
        text.parse().ok().map(ByteSize::as_u64)
    }

    #[test]
    fn times_are_read_with_their_units() {
        assert_eq!(span("250ms"), Some(250));
        assert_eq!(span("30s"), Some(30_000));
        assert_eq!(span("1h 30m"), Some(5_400_000));
        assert_eq!(span("30d"), Some(30 * 86_400_000));
        assert_eq!(span("0s"), Some(0));
        for bad in [
            "",
            "0",
            "30",
            "1.5",
            "30 lightyears",
            "-3s",
            "5us",
            "99999999999999999999s",
        ] {
            assert_eq!(span(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(size("512B"), Some(512));
        assert_eq!(size("4KiB"), Some(4_096));
        assert_eq!(size("64 MiB"), Some(64 << 20));
        assert_eq!(size("1.5GiB"), Some(3 << 29));
        assert_eq!(size("1MB"), Some(1_000_000));
        for bad in ["", "0", "512", "1.5", "64 Mi", "-1B", "1QB"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same() {
        for millis in [
            0,
            1,
            999,
            1_000,
            1_500,
            60_000,
            90_000,
            5_400_000,
            86_400_000,
            1 << 40,
        ] {
            let text = Span::millis(millis).to_string();
            assert_eq!(span(&text), Some(millis), "{text}");
        }
        for bytes in [0, 1, 1_000, 1_024, 1_536, 64 << 20, (1 << 40) + 1, 5 << 40] {
            let text = ByteSize::bytes(bytes).to_string();
            assert_eq!(size(&text), Some(bytes), "{text}");
        }
        assert_eq!(Span::days(30).to_string(), "30d");
        assert_eq!(ByteSize::mib(64).to_string(), "64MiB");
    }

    #[test]
    fn a_number_without_a_unit_is_refused_by_name() {
        #[derive(Debug, Deserialize)]
        struct Table {
            wait: Span,
        }
        assert_eq!(
            toml::from_str::<Table>("wait = \"2s\"").unwrap().wait,
            Span::seconds(2)
        );
        let error = toml::from_str::<Table>("wait = 2000")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("a time with its unit") && error.contains("2000"),
            "{error}"
        );
    }
}
