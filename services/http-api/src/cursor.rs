//! Cursors of the lists that this server makes itself: where the next page begins, signed, so that nobody can
//! make one up or use it on another list. Those of db-proxy's lists are db-proxy's.

use im_rpc::Secret;
use subtle::ConstantTimeEq as _;

use crate::problem::{Kind, Problem};
use crate::v1::hex;

const PURPOSE: &str = "imcluster http-api cursors 2026-11";

/// Bytes of a cursor beside its place: a digest of the list and its filters, and a MAC over that and the place.
const ABOUT: usize = 8;
const MAC: usize = 16;

/// Longest place, bytes.
const MAX_PLACE: usize = 128;

/// Makes and reads cursors under the administrators' secret: every server of an installation reads those of the
/// others, also after a restart.
#[derive(Clone, Debug)]
pub(crate) struct Cursors(Secret);

impl Cursors {
    pub(crate) fn new(secret: &Secret) -> Self {
        Self(secret.clone())
    }

    /// A cursor behind a place of a list; `about` is the list and what it was restricted to.
    pub(crate) fn make(&self, about: &[&str], place: &[u8]) -> String {
        let mut bytes = digest(about).to_vec();
        bytes.extend(place);
        let keys = self.0.keys(PURPOSE);
        let mac = keys.first().map(|key| mac(key, &bytes));
        bytes.extend(mac.unwrap_or_default());
        hex(&bytes)
    }

    /// The place behind which a page begins; `None` for the beginning.
    ///
    /// # Errors
    /// It is no cursor of this list.
    pub(crate) fn read(
        &self,
        about: &[&str],
        cursor: Option<&str>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        let Some(cursor) = cursor.filter(|cursor| !cursor.is_empty()) else {
            return Ok(None);
        };
        let open = || {
            let bytes = unhex(cursor)?;
            let (signed, shown) = bytes.split_at_checked(bytes.len().checked_sub(MAC)?)?;
            let keys = self.0.keys(PURPOSE);
            // A secret that is being replaced has two values.
            let is_ours = { keys.iter() }.any(|key| bool::from(mac(key, signed).ct_eq(shown)));
            let place = signed.strip_prefix(&digest(about))?;
            (is_ours && place.len() <= MAX_PLACE).then(|| place.to_vec())
        };
        let wrong = || {
            let detail = "cursor must be `next` of a page of the same list with the same filters";
            Problem::new(Kind::MalformedRequest, detail)
        };
        open().map(Some).ok_or_else(wrong)
    }
}

fn digest(about: &[&str]) -> [u8; ABOUT] {
    let mut hash = blake3::Hasher::new();
    for part in about {
        hash.update(&part.len().to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut digest = [0; ABOUT];
    hash.finalize_xof().fill(&mut digest);
    digest
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> [u8; MAC] {
    let mut mac = [0; MAC];
    let mut hash = blake3::Hasher::new_keyed(key);
    hash.update(bytes).finalize_xof().fill(&mut mac);
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let most = 2 * (ABOUT + MAX_PLACE + MAC);
    if text.len() > most || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let digits = text.as_bytes().chunks_exact(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_list_and_filters_and_as_it_was_made() {
        let secret = Secret::generate();
        let cursors = Cursors::new(&secret);
        let about = ["sessions", "u1", ""];
        let cursor = cursors.make(&about, b"place");
        let read = |about: &[&str], cursor: &str| cursors.read(about, Some(cursor)).ok().flatten();
        assert_eq!(read(&about, &cursor).as_deref(), Some(b"place".as_slice()));
        let other = Cursors::new(&secret).read(&about, Some(&cursor));
        assert!(other.is_ok(), "of another server");
        assert_eq!(cursors.read(&about, None).unwrap(), None);
        assert_eq!(cursors.read(&about, Some("")).unwrap(), None);
        for about in [
            ["servers", "u1", ""],
            ["sessions", "u2", ""],
            ["sessions", "u", "1"],
        ] {
            assert_eq!(read(&about, &cursor), None, "{about:?}");
        }
        for at in 0..cursor.len() {
            let mut forged = cursor.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            let forged = String::from_utf8(forged).unwrap();
            let problem = cursors.read(&about, Some(&forged));
            assert_eq!(problem.unwrap_err().kind, Kind::MalformedRequest, "{at}");
        }
        let (_, part) = cursor.split_at(2);
        for wrong in ["0", "xx", "00", part, &"0".repeat(1_000), "é0"] {
            assert!(cursors.read(&about, Some(wrong)).is_err(), "{wrong}");
        }
        let stranger = Cursors::new(&Secret::generate());
        assert!(stranger.read(&about, Some(&cursor)).is_err());
    }
}
