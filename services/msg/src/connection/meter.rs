//! How much a connection, and a user, may ask for in a time.
//!
//! Rates are kept as the moment at which all that was taken is earned again: four bytes a kind. Those
//! of a connection exist from its first request until all of them are earned again, so an idle
//! connection has none.

use im_codec::{ClientCommand, Command, Handler};
use im_config::{MeterConfig, Rate};

use crate::clock::is_due;
use crate::metrics::Limit;

/// Kinds of frames that are counted per connection, heartbeats and messages apart.
const PER_CONNECTION: [Limit; 7] = [
    Limit::Time,
    Limit::Presence,
    Limit::Query,
    Limit::ReadAck,
    Limit::Receipt,
    Limit::File,
    Limit::Ignored,
];

/// Kinds of frames that are counted per user.
const PER_USER: [Limit; 4] = [Limit::Setting, Limit::Change, Limit::Signal, Limit::Kick];

/// What a frame counts as; `None` for those that end a connection or begin a session, once each.
pub(super) fn kind(command: ClientCommand, is_online: bool) -> Option<Limit> {
    let ClientCommand::Request(command) = command else {
        return Some(Limit::Ignored);
    };
    let kind = match command.handler() {
        Handler::Heartbeat => return Some(Limit::Heartbeat),
        Handler::Login if !is_online => return None,
        _ if !is_online => return Some(Limit::Ignored),
        Handler::Logout => return None,
        Handler::Store => Limit::Message,
        Handler::Time => Limit::Time,
        Handler::Presence => Limit::Presence,
        Handler::Query => Limit::Query,
        Handler::ReadAck => Limit::ReadAck,
        Handler::Receipt => Limit::Receipt,
        Handler::File => Limit::File,
        Handler::DeviceToken => Limit::Setting,
        Handler::Signal => Limit::Signal,
        Handler::KickPc => Limit::Kick,
        Handler::Change => match command {
            Command::PushShieldReq | Command::GroupShieldReq | Command::RemoveSessionReq => {
                Limit::Setting
            }
            _ => Limit::Change,
        },
        Handler::Login
        | Handler::Dispatch
        | Handler::FileServer
        | Handler::Answer
        | Handler::Push
        | Handler::Internal => Limit::Ignored,
    };
    Some(kind)
}

fn rate_of(config: &MeterConfig, kind: Limit) -> Rate {
    match kind {
        Limit::Heartbeat => config.heartbeat,
        Limit::Time => config.time,
        Limit::Presence => config.presence,
        Limit::Query => config.query,
        Limit::ReadAck => config.read_ack,
        Limit::Receipt => config.receipt,
        Limit::File => config.file,
        Limit::Setting => config.setting,
        Limit::Change => config.change,
        Limit::Signal => config.signal,
        Limit::Kick => config.kick,
        // Messages and bytes are not counted here.
        Limit::Ignored | Limit::Message | Limit::Bytes | Limit::Stored | Limit::Answers => {
            config.ignored
        }
    }
}

/// In which time one frame is earned, milliseconds.
fn interval(rate: Rate) -> u32 {
    (60_000 / rate.per_minute.max(1)).max(1)
}

/// Takes one frame: `earned_at` is when all that was taken before is earned again. The time to wait when
/// there is none, milliseconds.
fn take(earned_at: &mut u32, rate: Rate, now: u32) -> Option<u32> {
    let interval = interval(rate);
    let ahead = if is_due(now, *earned_at) {
        0
    } else {
        earned_at.wrapping_sub(now)
    };
    let most = interval.saturating_mul(rate.burst.saturating_sub(1));
    if ahead > most {
        return Some(ahead - most);
    }
    *earned_at = now.wrapping_add(ahead + interval);
    None
}

/// Counts bytes: what was taken drains at a rate. More than the burst passes when nothing is left of
/// what was taken before.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    bytes: u32,
    at: u32,
}

impl Level {
    fn drain(&mut self, per_second: u32, now: u32) {
        let drained = u64::from(now.wrapping_sub(self.at)) * u64::from(per_second) / 1_000;
        if drained > 0 {
            self.bytes = u32::try_from(u64::from(self.bytes).saturating_sub(drained)).unwrap_or(0);
            self.at = now;
        }
    }

    fn take(&mut self, bytes: u32, burst: u64, per_second: u32, now: u32) -> Option<u32> {
        self.drain(per_second, now);
        let after = u64::from(self.bytes) + u64::from(bytes);
        if after > burst && self.bytes > 0 {
            let over = (after - burst).min(self.bytes.into());
            let wait = (over * 1_000).div_ceil(u64::from(per_second.max(1)));
            return Some(u32::try_from(wait).unwrap_or(u32::MAX).max(1));
        }
        self.bytes = u32::try_from(after).unwrap_or(u32::MAX);
        None
    }

    /// Counts what was not asked for before.
    fn add(&mut self, bytes: u32, per_second: u32, now: u32) {
        self.drain(per_second, now);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The time until the burst is not used up any more, milliseconds.
    fn excess(&mut self, burst: u64, per_second: u32, now: u32) -> Option<u32> {
        self.drain(per_second, now);
        let over = u64::from(self.bytes).checked_sub(burst)?;
        let wait = (over * 1_000).div_ceil(u64::from(per_second.max(1)));
        Some(u32::try_from(wait).unwrap_or(u32::MAX).max(1))
    }
}

/// Longest time that a message waits because of what is stored, milliseconds: a day. What was stored in
/// a day is earned again by then.
const LONGEST_HOLD: u32 = 86_400_000;

/// Why a frame must wait, and how long, milliseconds.
pub(super) type Wait = (Limit, u32);

/// What one connection has taken.
pub(super) struct ConnMeter {
    heartbeat: u32,
    bytes: Level,
    kinds: Option<Box<[u32; PER_CONNECTION.len()]>>,
}

impl ConnMeter {
    pub(super) fn new(now: u32) -> Self {
        Self {
            heartbeat: now,
            bytes: Level { bytes: 0, at: now },
            kinds: None,
        }
    }

    /// Gives memory back when everything taken is earned again.
    pub(super) fn settle(&mut self, now: u32) {
        if let Some(kinds) = &self.kinds
            && kinds.iter().all(|earned_at| is_due(now, *earned_at))
        {
            self.kinds = None;
        }
    }

    /// Takes a frame of this kind and length.
    pub(super) fn take(
        &mut self,
        config: &MeterConfig,
        kind: Option<Limit>,
        bytes: u32,
        now: u32,
    ) -> Result<(), Wait> {
        let per_second = u32::try_from(config.bytes_per_second.as_u64()).unwrap_or(u32::MAX);
        let burst = config.bytes_burst.as_u64();
        if let Some(wait) = self.bytes.take(bytes, burst, per_second, now) {
            return Err((Limit::Bytes, wait));
        }
        let Some(kind) = kind else { return Ok(()) };
        let Some(earned_at) = self.earned_at(kind, now) else {
            return Ok(());
        };
        match take(earned_at, rate_of(config, kind), now) {
            Some(wait) => {
                self.give_back_bytes(bytes);
                Err((kind, wait))
            }
            None => Ok(()),
        }
    }

    /// Of a kind that is counted here.
    fn earned_at(&mut self, kind: Limit, now: u32) -> Option<&mut u32> {
        if kind == Limit::Heartbeat {
            return Some(&mut self.heartbeat);
        }
        let index = PER_CONNECTION.iter().position(|known| *known == kind)?;
        let kinds = self.kinds.get_or_insert_with(|| Box::new([now; _]));
        kinds.get_mut(index)
    }

    /// A frame that was taken comes again later.
    pub(super) fn give_back(&mut self, config: &MeterConfig, kind: Limit, bytes: u32, now: u32) {
        self.give_back_bytes(bytes);
        if let Some(earned_at) = self.earned_at(kind, now) {
            *earned_at = earned_at.wrapping_sub(interval(rate_of(config, kind)));
        }
    }

    fn give_back_bytes(&mut self, bytes: u32) {
        self.bytes.bytes = self.bytes.bytes.saturating_sub(bytes);
    }
}

/// What one user has taken, over all terminals here.
#[derive(Clone, Copy, Debug)]
pub(super) struct UserMeter {
    kinds: [u32; PER_USER.len()],
    /// Until when messages wait, because so much is stored.
    stored_until: u32,
    answers: Level,
}

fn answers_per_second(config: &MeterConfig) -> u32 {
    u32::try_from(config.answers_per_second.as_u64()).unwrap_or(u32::MAX)
}

impl UserMeter {
    pub(super) fn new(now: u32) -> Self {
        Self {
            kinds: [now; _],
            stored_until: now,
            answers: Level { bytes: 0, at: now },
        }
    }

    /// Has messages wait, as db-proxy says: it counts what is stored.
    pub(super) fn hold(&mut self, wait: u32, now: u32) {
        let until = now.wrapping_add(wait.min(LONGEST_HOLD));
        if is_due(until, self.stored_until) {
            self.stored_until = until;
        }
    }

    /// Whether this kind is counted per user.
    pub(super) fn counts(kind: Limit) -> bool {
        matches!(kind, Limit::Message | Limit::Query | Limit::Presence) || PER_USER.contains(&kind)
    }

    /// Counts an answer of this length.
    pub(super) fn answered(&mut self, config: &MeterConfig, bytes: u32, now: u32) {
        self.answers.add(bytes, answers_per_second(config), now);
    }

    /// Takes a frame of this kind.
    pub(super) fn take(&mut self, config: &MeterConfig, kind: Limit, now: u32) -> Result<(), Wait> {
        if kind == Limit::Message {
            return if is_due(now, self.stored_until) {
                Ok(())
            } else {
                Err((Limit::Stored, self.stored_until.wrapping_sub(now)))
            };
        }
        if matches!(kind, Limit::Query | Limit::Presence) {
            // What the answer counts for is known when it is there.
            let burst = config.answers_burst.as_u64();
            let wait = self.answers.excess(burst, answers_per_second(config), now);
            return wait.map_or(Ok(()), |wait| Err((Limit::Answers, wait)));
        }
        let index = PER_USER.iter().position(|known| *known == kind);
        let earned_at = index.and_then(|index| self.kinds.get_mut(index));
        match earned_at.and_then(|earned_at| take(earned_at, rate_of(config, kind), now)) {
            Some(wait) => Err((kind, wait)),
            None => Ok(()),
        }
    }

    /// Whether everything taken is earned again.
    pub(super) fn is_settled(&mut self, config: &MeterConfig, now: u32) -> bool {
        self.answers.drain(answers_per_second(config), now);
        let mut all = self.kinds.iter().chain([&self.stored_until]);
        self.answers.bytes == 0 && all.all(|earned_at| is_due(now, *earned_at))
    }
}

/// A token bucket of messages: `rate_limit` per second, `rate_burst` at most.
pub(super) struct Bucket {
    /// Thousandths of a message.
    tokens: u32,
    at: u32,
}

impl Bucket {
    pub(super) fn full(burst: u32, now: u32) -> Self {
        Self {
            tokens: burst.saturating_mul(1_000),
            at: now,
        }
    }

    /// Takes one message; the time to wait when there is none, milliseconds.
    pub(super) fn take(&mut self, now: u32, rate: u32, burst: u32) -> Option<u32> {
        let earned = u64::from(now.wrapping_sub(self.at)) * u64::from(rate);
        let full = u64::from(burst) * 1_000;
        self.tokens =
            u32::try_from((u64::from(self.tokens) + earned).min(full)).unwrap_or(u32::MAX);
        self.at = now;
        if self.tokens >= 1_000 {
            self.tokens -= 1_000;
            return None;
        }
        Some((1_000 - self.tokens).div_ceil(rate).max(1))
    }

    /// A message that was taken comes again later.
    pub(super) fn give_back(&mut self) {
        self.tokens = self.tokens.saturating_add(1_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_counts() {
        let mut bucket = Bucket::full(64, 0);
        for _ in 0..64 {
            assert_eq!(bucket.take(0, 20, 64), None);
        }
        assert_eq!(bucket.take(0, 20, 64), Some(50));
        assert_eq!(bucket.take(49, 20, 64), Some(1));
        assert_eq!(bucket.take(50, 20, 64), None);
        assert_eq!(bucket.take(50, 20, 64), Some(50));
    }

    #[test]
    fn a_long_silence_earns_no_more_than_a_burst() {
        let mut bucket = Bucket { tokens: 0, at: 5 };
        for _ in 0..3 {
            assert_eq!(bucket.take(4_000_000_000, 1_000_000, 3), None);
        }
        assert_eq!(bucket.take(4_000_000_000, 1_000_000, 3), Some(1));
    }

    #[test]
    fn every_kind_has_its_burst_and_its_rate_and_none_takes_from_another() {
        let config = MeterConfig::default();
        for start in [0, u32::MAX - 1_000] {
            let mut meter = ConnMeter::new(start);
            for kind in PER_CONNECTION.into_iter().chain([Limit::Heartbeat]) {
                let rate = rate_of(&config, kind);
                for _ in 0..rate.burst {
                    assert_eq!(meter.take(&config, Some(kind), 16, start), Ok(()));
                }
                let interval = 60_000 / rate.per_minute;
                let late = meter.take(&config, Some(kind), 16, start);
                assert_eq!(late, Err((kind, interval)));
                let then = start.wrapping_add(interval);
                assert_eq!(meter.take(&config, Some(kind), 16, then), Ok(()));
                assert!(meter.take(&config, Some(kind), 16, then).is_err());
            }
        }
    }

    #[test]
    fn a_frame_that_is_given_back_was_not_taken() {
        let config = MeterConfig::default();
        let mut meter = ConnMeter::new(0);
        let bytes = 4 << 20;
        for _ in 0..2 * config.query.burst {
            assert_eq!(meter.take(&config, Some(Limit::Query), bytes, 0), Ok(()));
            meter.give_back(&config, Limit::Query, bytes, 0);
        }
        for _ in 0..config.query.burst {
            assert_eq!(meter.take(&config, Some(Limit::Query), 16, 0), Ok(()));
        }
        assert!(meter.take(&config, Some(Limit::Query), 16, 0).is_err());
    }

    #[test]
    fn a_connection_at_rest_keeps_nothing() {
        let config = MeterConfig::default();
        let mut meter = ConnMeter::new(0);
        meter.take(&config, Some(Limit::Query), 16, 0).unwrap();
        meter.settle(50);
        assert!(meter.kinds.is_some());
        meter.settle(100);
        assert!(meter.kinds.is_none());
        meter
            .take(&config, Some(Limit::Heartbeat), 16, 100)
            .unwrap();
        assert!(meter.kinds.is_none());
    }

    #[test]
    fn bytes_of_a_connection_count_whatever_the_frames_are() {
        let config = MeterConfig::default();
        let (burst, rate) = (4 << 20, 80 << 10);
        let mut meter = ConnMeter::new(0);
        for _ in 0..4 {
            assert_eq!(
                meter.take(&config, Some(Limit::Query), burst / 4, 0),
                Ok(())
            );
        }
        let late = meter.take(&config, Some(Limit::Time), rate, 0);
        assert_eq!(late, Err((Limit::Bytes, 1_000)));
        assert_eq!(meter.take(&config, Some(Limit::Time), rate, 1_000), Ok(()));
    }

    #[test]
    fn messages_wait_as_long_as_db_proxy_says_and_nothing_else_does() {
        let config = MeterConfig::default();
        for start in [0, u32::MAX - 500] {
            let at = |late: u32| start.wrapping_add(late);
            let mut meter = UserMeter::new(start);
            assert_eq!(meter.take(&config, Limit::Message, start), Ok(()));
            meter.hold(1_000, start);
            meter.hold(200, at(100));
            let held = meter.take(&config, Limit::Message, at(300));
            assert_eq!(held, Err((Limit::Stored, 700)));
            assert_eq!(meter.take(&config, Limit::Setting, at(300)), Ok(()));
            assert!(!meter.is_settled(&config, at(999)));
            assert_eq!(meter.take(&config, Limit::Message, at(1_000)), Ok(()));
            meter.hold(u32::MAX, at(1_000));
            assert!(meter.take(&config, Limit::Message, at(1_000)).is_err());
            let late = at(1_000 + LONGEST_HOLD);
            assert_eq!(meter.take(&config, Limit::Message, late), Ok(()));
        }
    }

    #[test]
    fn answers_count_when_they_are_there_and_the_next_question_waits() {
        let config = MeterConfig::default();
        let (burst, second) = (64 << 20, 1 << 20);
        let mut meter = UserMeter::new(0);
        for _ in 0..4 {
            assert_eq!(meter.take(&config, Limit::Query, 0), Ok(()));
            meter.answered(&config, burst / 4, 0);
        }
        assert_eq!(
            meter.take(&config, Limit::Query, 0),
            Err((Limit::Answers, 1)),
            "at the bound"
        );
        meter.answered(&config, 2 * second, 0);
        for kind in [Limit::Query, Limit::Presence] {
            let late = meter.take(&config, kind, 0);
            assert_eq!(late, Err((Limit::Answers, 2_000)));
        }
        assert_eq!(meter.take(&config, Limit::Signal, 0), Ok(()));
        assert_eq!(meter.take(&config, Limit::Query, 2_001), Ok(()));
        assert!(!meter.is_settled(&config, 65_000));
        assert!(meter.is_settled(&config, 66_010));
    }

    #[test]
    fn what_a_user_takes_is_forgotten_when_it_is_earned_again() {
        let config = MeterConfig::default();
        let mut meter = UserMeter::new(0);
        for _ in 0..config.change.burst {
            meter.take(&config, Limit::Change, 0).unwrap();
        }
        assert!(meter.take(&config, Limit::Change, 0).is_err());
        assert!(meter.take(&config, Limit::Setting, 0).is_ok());
        assert!(!meter.is_settled(&config, 119_000));
        assert!(meter.is_settled(&config, 120_000));
    }

    #[test]
    fn every_command_counts_as_something() {
        for command in Command::ALL {
            let online = kind(ClientCommand::Request(command), true);
            let ends = matches!(command.handler(), Handler::Logout);
            assert_eq!(online.is_none(), ends, "{command:?}");
            let before = kind(ClientCommand::Request(command), false);
            match command.handler() {
                Handler::Login => assert_eq!(before, None),
                Handler::Heartbeat => assert_eq!(before, Some(Limit::Heartbeat)),
                _ => assert_eq!(before, Some(Limit::Ignored), "{command:?}"),
            }
        }
    }
}
