//! What tells the original clients apart on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use im_codec::{Command, HEADER_LEN, Header};

/// Whose behaviour a [`Client`](crate::Client) shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// This project's own client: a `client_msg_id` in every message, which is sent again after a
    /// reconnect until it is acknowledged.
    #[default]
    Own,
    /// The Windows client: mostly sequence number 0, and one retry of an unacknowledged message.
    Windows,
    /// The Mac client.
    Mac,
    /// The iOS client: header version 13, user id 0 in requests.
    Ios,
    /// The Android client: header version 6.
    Android,
}

impl Profile {
    /// A frame with this client's header values around an encoded body.
    pub fn frame(self, command: Command, seq: u16, body: &[u8]) -> Bytes {
        let mut out = BytesMut::with_capacity(HEADER_LEN + body.len());
        out.put_slice(&self.header(command, seq, body.len()).to_bytes());
        out.put_slice(body);
        out.freeze()
    }

    /// This client's header for a body of `body_len` bytes.
    pub fn header(self, command: Command, seq: u16, body_len: usize) -> Header {
        let (version, reserved) = match self {
            Self::Own | Self::Windows | Self::Mac => (1, 0),
            Self::Ios => (13, 1),
            Self::Android => (6, 0x30),
        };
        Header {
            version,
            reserved,
            ..Header::new(command, seq, body_len)
        }
    }

    /// Whether this client puts its own id into requests and messages; Mac and iOS leave 0.
    pub(crate) const fn names_itself(self) -> bool {
        !matches!(self, Self::Mac | Self::Ios)
    }

    /// Whether messages carry the sender's id and the sender's clock.
    pub(crate) const fn message_marks(self) -> (bool, bool) {
        match self {
            Self::Own | Self::Mac => (true, false),
            Self::Windows | Self::Android => (true, true),
            Self::Ios => (false, false),
        }
    }
}

/// The sequence numbers of one client; they go on over reconnects.
#[derive(Debug)]
pub(crate) struct Seqs {
    profile: Profile,
    requests: u16,
    logins: u16,
    messages: u16,
}

/// Where the Windows client's message numbers end: the numbers above are tags of history requests.
const WINDOWS_TAGS: u16 = 0xfeff;
/// The tag of a history request of the Windows client.
const WINDOWS_HISTORY: u16 = 0xff01;
/// The Android client's highest number.
const ANDROID_LAST: u16 = 32_766;

impl Seqs {
    pub(crate) const fn new(profile: Profile, random: u16) -> Self {
        Self {
            profile,
            requests: 0,
            logins: 0,
            messages: random % 1000,
        }
    }

    /// The number of a login request.
    pub(crate) fn login(&mut self, in_use: impl Fn(u16) -> bool) -> u16 {
        if self.profile == Profile::Windows {
            self.logins = self.logins.wrapping_add(1).max(1);
            return self.logins;
        }
        self.count(in_use)
    }

    /// The number of a chat message.
    pub(crate) fn message(&mut self, in_use: impl Fn(u16) -> bool) -> u16 {
        if self.profile == Profile::Windows {
            self.messages = match self.messages + 1 {
                WINDOWS_TAGS => 1,
                next => next,
            };
            return self.messages;
        }
        self.count(in_use)
    }

    /// The number of any other request.
    pub(crate) fn request(&mut self, command: Command, in_use: impl Fn(u16) -> bool) -> u16 {
        match (self.profile, command) {
            (Profile::Windows, Command::GetMsgListReq) => WINDOWS_HISTORY,
            (Profile::Windows, _) => 0,
            _ => self.count(in_use),
        }
    }

    /// The next number of the common counter. Our own client leaves out 0 and the numbers that
    /// still wait for an answer; the originals just count.
    fn count(&mut self, in_use: impl Fn(u16) -> bool) -> u16 {
        match self.profile {
            Profile::Android => {
                self.requests = if self.requests >= ANDROID_LAST {
                    1
                } else {
                    self.requests + 1
                };
            }
            Profile::Own => {
                // Bounded: with every number in use the counter ends where it began.
                for _ in 0..=u16::MAX {
                    self.requests = self.requests.wrapping_add(1);
                    if self.requests != 0 && !in_use(self.requests) {
                        break;
                    }
                }
            }
            Profile::Windows | Profile::Mac | Profile::Ios => {
                self.requests = self.requests.wrapping_add(1);
            }
        }
        self.requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FREE: fn(u16) -> bool = |_| false;

    #[test]
    fn headers_carry_the_values_of_each_client() {
        let android = Profile::Android.frame(Command::HeartBeat, 3, &[]);
        assert_eq!(
            android.as_ref(),
            [0, 0, 0, 16, 0, 6, 0, 0, 0, 7, 7, 1, 0, 3, 0, 0x30]
        );
        let ios = Profile::Ios.frame(Command::HeartBeat, 2, &[]);
        assert_eq!(
            ios.as_ref(),
            [0, 0, 0, 16, 0, 13, 0, 0, 0, 7, 7, 1, 0, 2, 0, 1]
        );
    }

    #[test]
    fn windows_numbers_logins_and_messages_but_not_requests() {
        let mut seqs = Seqs::new(Profile::Windows, 1_999);
        assert_eq!((seqs.login(FREE), seqs.login(FREE)), (1, 2));
        assert_eq!((seqs.message(FREE), seqs.message(FREE)), (1000, 1001));
        assert_eq!(seqs.request(Command::AllUserReq, FREE), 0);
        assert_eq!(seqs.request(Command::GetMsgListReq, FREE), 0xff01);
        seqs.messages = WINDOWS_TAGS - 1;
        assert_eq!(seqs.message(FREE), 1, "the tags stay free");
    }

    #[test]
    fn android_counts_to_its_limit_and_starts_again_at_one() {
        let mut seqs = Seqs::new(Profile::Android, 0);
        seqs.requests = ANDROID_LAST;
        assert_eq!(seqs.login(FREE), 1);
        assert_eq!(seqs.message(FREE), 2);
    }

    #[test]
    fn our_own_client_skips_zero_and_numbers_that_wait() {
        let mut seqs = Seqs::new(Profile::Own, 0);
        seqs.requests = u16::MAX;
        assert_eq!(seqs.message(|seq| seq == 1), 2);
    }
}
