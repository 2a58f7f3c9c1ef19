//! When clients are spread anew.

use jiff::{SignedDuration, Timestamp};

/// `roles.msg.rebalance` of the specification, and the request by annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebalanceRules {
    /// Connections beyond which a pod has too many, percent of the mean.
    pub rel_percent: u32,
    /// Connections beyond the mean below which a pod has not too many.
    pub abs: u32,
    /// Sessions per second, all pods together.
    pub per_second: u32,
    /// When it happens by itself.
    pub window: Window,
    /// Since when a round is asked for, whatever the window and `abs` say.
    pub asked: Option<Timestamp>,
}

impl Default for RebalanceRules {
    fn default() -> Self {
        Self {
            rel_percent: 110,
            abs: 1_000,
            per_second: 100,
            window: Window::Never,
            asked: None,
        }
    }
}

/// Times of each day, UTC.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Window {
    /// None.
    #[default]
    Never,
    /// All.
    Always,
    /// From one minute of the day to another one, which may be of the next day.
    Between(u32, u32),
}

impl Window {
    /// Reads `Never`, `Always` or `02:00-05:00`; anything else is never.
    pub fn parse(text: &str) -> Self {
        let minute = |text: &str| {
            let (hours, minutes) = text.split_once(':')?;
            let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
            (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
        };
        if text == "Always" {
            return Self::Always;
        }
        let times = text.split_once('-');
        let times = times.and_then(|(from, to)| Some((minute(from)?, minute(to)?)));
        times.map_or(Self::Never, |(from, to)| Self::Between(from, to))
    }

    pub(super) fn is_open(self, now: Timestamp) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::Between(from, to) => {
                let minute = minute_of_day(now);
                if from <= to {
                    (from..to).contains(&minute)
                } else {
                    minute >= from || minute < to
                }
            }
        }
    }

    /// When it opens or closes next.
    pub(super) fn turns(self, now: Timestamp) -> Option<Timestamp> {
        let Self::Between(from, to) = self else {
            return None;
        };
        let minute = minute_of_day(now);
        let into = now.as_second().rem_euclid(60);
        let seconds = [from, to].map(|at| {
            let minutes = (at + DAY - minute) % DAY;
            let minutes = if minutes == 0 { DAY } else { minutes };
            i64::from(minutes) * 60 - into
        });
        let next = seconds.into_iter().min()?;
        now.checked_add(SignedDuration::from_secs(next)).ok()
    }
}

/// Minutes of a day.
const DAY: u32 = 1_440;

fn minute_of_day(now: Timestamp) -> u32 {
    let second = now.as_second().rem_euclid(86_400);
    u32::try_from(second / 60).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_open_between_its_times_also_over_midnight() {
        let at = |text: &str| format!("2026-11-30T{text}Z").parse::<Timestamp>().unwrap();
        let night = Window::parse("22:30-01:00");
        assert_eq!(night, Window::Between(1_350, 60));
        for (time, open, next) in [
            ("22:29:59", false, "2026-11-30T22:30:00Z"),
            ("22:30:00", true, "2026-12-01T01:00:00Z"),
            ("00:59:59", true, "2026-11-30T01:00:00Z"),
            ("01:00:00", false, "2026-11-30T22:30:00Z"),
        ] {
            assert_eq!(night.is_open(at(time)), open, "{time}");
            assert_eq!(night.turns(at(time)), Some(next.parse().unwrap()), "{time}");
        }
        let day = Window::parse("02:00-05:00");
        assert!(day.is_open(at("02:00:00")) && !day.is_open(at("05:00:00")));
        assert_eq!(Window::parse("Always"), Window::Always);
        assert_eq!(Window::Always.turns(at("00:00:00")), None);
        for text in ["Never", "", "25:00-01:00", "01:60-02:00", "soon"] {
            assert!(!Window::parse(text).is_open(at("01:00:00")), "{text}");
        }
    }
}
