//! How long one connection is worked on before others.

use crate::env::Env;

/// A frame of this many bytes counts as two of a turn.
const LONG_FRAME: usize = 4_096;

/// What one connection has used of its turn.
pub(super) struct Turn {
    frames: u16,
    /// Microseconds of the server's clock.
    since: u32,
    /// It is not the first one: a place is held until nothing is left to be read.
    pub(super) has_place: bool,
}

impl Turn {
    pub(super) fn begin(env: &Env) -> Self {
        Self {
            frames: 0,
            since: env.clock.micros(),
            has_place: false,
        }
    }

    /// Another one, in the same place.
    pub(super) fn start(&mut self, env: &Env) {
        self.frames = 0;
        self.since = env.clock.micros();
    }

    /// Counts a frame, a long one as several.
    pub(super) fn count(&mut self, bytes: usize) {
        let frames = 1 + bytes / LONG_FRAME;
        self.frames = self
            .frames
            .saturating_add(u16::try_from(frames).unwrap_or(u16::MAX));
    }

    /// Whether so many frames were worked on that others go first.
    pub(super) fn is_full(&self, env: &Env) -> bool {
        u32::from(self.frames) >= env.config.turn_frames.min(u16::MAX.into())
    }

    /// Whether others go first now.
    pub(super) fn is_over(&self, env: &Env) -> bool {
        self.is_full(env)
            || u64::from(env.clock.micros().wrapping_sub(self.since))
                >= env.config.turn_time.as_millis() * 1_000
    }
}
