//! Cursors of lists: where the next page begins, signed, so that nobody can make one up or use it on
//! another list.

use im_rpc::Secret;
use subtle::ConstantTimeEq as _;

use super::AdminError;

const PURPOSE: &str = "imcluster db-proxy cursors of administration 2026-11";

/// Bytes of a cursor: a list, a digest of what was asked for, a place, and a MAC over these.
const ABOUT: usize = 8;
const MAC: usize = 16;

/// Bytes of the longest place: a login name, with the id behind it that a person has who was taken out.
const MAX_PLACE: usize = 255 + 11;

/// What is listed.
#[derive(Clone, Copy, Debug)]
pub(super) enum List {
    Users = 1,
    Groups = 2,
    Sessions = 3,
    Departments = 4,
    Locks = 5,
    Tokens = 6,
    Audit = 7,
    Names = 8,
    Members = 9,
    Deliveries = 10,
    IncomingHooks = 11,
    Bots = 13,
}

/// One list: which, and what it was restricted to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed<'a> {
    pub(super) list: List,
    pub(super) filters: &'a [&'a str],
}

impl Listed<'_> {
    fn head(&self) -> [u8; 1 + ABOUT] {
        let mut hash = blake3::Hasher::new();
        for filter in self.filters {
            hash.update(&filter.len().to_be_bytes());
            hash.update(filter.as_bytes());
        }
        let mut head = [0; 1 + ABOUT];
        let (list, about) = head.split_at_mut(1);
        list.copy_from_slice(&[self.list as u8]);
        let digest = hash.finalize();
        for (byte, from) in about.iter_mut().zip(digest.as_bytes()) {
            *byte = *from;
        }
        head
    }
}

/// Makes and reads cursors under the administrators' secret. They outlive the process, and a secret that
/// is replaced as README says.
#[derive(Clone, Debug)]
pub(super) struct Cursors(Secret);

impl Cursors {
    pub(super) fn new(secret: &Secret) -> Self {
        Self(secret.clone())
    }

    /// A cursor behind a place of a list.
    pub(super) fn make(&self, listed: Listed<'_>, place: u128) -> String {
        self.seal(listed, &place.to_be_bytes())
    }

    /// The same where the place is a name.
    pub(super) fn make_at(&self, listed: Listed<'_>, name: &str) -> String {
        self.seal(listed, name.as_bytes())
    }

    fn seal(&self, listed: Listed<'_>, place: &[u8]) -> String {
        let mut bytes = listed.head().to_vec();
        bytes.extend(place);
        let mac = self.0.keys(PURPOSE).first().map(|key| mac(key, &bytes));
        bytes.extend(mac.unwrap_or_default());
        let hex = |text: String, byte: &u8| text + &format!("{byte:02x}");
        bytes.iter().fold(String::new(), hex)
    }

    /// The place behind which a page begins; `None` for the beginning.
    pub(super) fn read(
        &self,
        listed: Listed<'_>,
        cursor: &str,
    ) -> Result<Option<u128>, AdminError> {
        let place = self.open(listed, cursor)?;
        let number = |place: Vec<u8>| place.try_into().map(u128::from_be_bytes);
        place.map(number).transpose().map_err(|_| refused())
    }

    /// The same where the place is a name.
    pub(super) fn read_at(
        &self,
        listed: Listed<'_>,
        cursor: &str,
    ) -> Result<Option<String>, AdminError> {
        let place = self.open(listed, cursor)?;
        place
            .map(String::from_utf8)
            .transpose()
            .map_err(|_| refused())
    }

    fn open(&self, listed: Listed<'_>, cursor: &str) -> Result<Option<Vec<u8>>, AdminError> {
        if cursor.is_empty() {
            return Ok(None);
        }
        let bytes = unhex(cursor).ok_or_else(refused)?;
        let signed = bytes.len().checked_sub(MAC).ok_or_else(refused)?;
        let (signed, presented) = bytes.split_at_checked(signed).ok_or_else(refused)?;
        let keys = self.0.keys(PURPOSE);
        let is_ours = keys
            .iter()
            .any(|key| bool::from(mac(key, signed).ct_eq(presented)));
        match signed.split_at_checked(1 + ABOUT) {
            Some((head, place)) if is_ours && head == listed.head() => Ok(Some(place.to_vec())),
            _ => Err(refused()),
        }
    }
}

fn refused() -> AdminError {
    AdminError::Invalid(
        "the cursor is not that of this list: give the one that the page before ended with, and \
         everything else as it was"
            .to_owned(),
    )
}

/// The id that a place is, in a list by ids.
pub(super) fn id_of(place: u128) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

fn mac(key: &[u8; 32], bytes: &[u8]) -> [u8; MAC] {
    let whole: [u8; 32] = blake3::keyed_hash(key, bytes).into();
    let mut mac = [0; MAC];
    for (byte, from) in mac.iter_mut().zip(whole) {
        *byte = from;
    }
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let most = 2 * (1 + ABOUT + MAX_PLACE + MAC);
    if text.len() > most || !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: Listed<'_> = Listed {
        list: List::Users,
        filters: &["an"],
    };

    #[test]
    fn a_cursor_leads_back_to_its_place_also_after_the_secret_was_replaced() {
        let old = Secret::new("an old value of a secret").unwrap();
        let cursor = Cursors::new(&old).make(USERS, 7);
        let both = Secret::new("a new value of a secret\nan old value of a secret").unwrap();
        assert_eq!(Cursors::new(&both).read(USERS, &cursor).unwrap(), Some(7));
        assert_eq!(Cursors::new(&both).read(USERS, "").unwrap(), None);
        let new = Secret::new("a new value of a secret").unwrap();
        assert!(Cursors::new(&new).read(USERS, &cursor).is_err());
    }

    #[test]
    fn a_cursor_at_a_name_leads_back_to_it_and_is_no_number() {
        let cursors = Cursors::new(&Secret::generate());
        let names = Listed {
            list: List::Names,
            ..USERS
        };
        for name in ["ann", "安娜", &"x".repeat(MAX_PLACE)] {
            let cursor = cursors.make_at(names, name);
            assert_eq!(
                cursors.read_at(names, &cursor).unwrap().as_deref(),
                Some(name)
            );
            assert!(cursors.read_at(USERS, &cursor).is_err());
        }
        let cursor = cursors.make_at(names, "ann");
        assert!(cursors.read(names, &cursor).is_err());
        let too_long = cursors.make_at(names, &"x".repeat(MAX_PLACE + 1));
        assert!(cursors.read_at(names, &too_long).is_err());
    }

    #[test]
    fn a_cursor_that_was_changed_or_belongs_to_another_list_is_refused() {
        let cursors = Cursors::new(&Secret::generate());
        let cursor = cursors.make(USERS, u128::MAX - 1);
        for at in 0..cursor.len() {
            let mut changed = cursor.clone().into_bytes();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(cursors.read(USERS, &changed).is_err(), "{at}");
        }
        for other in [
            Listed {
                list: List::Groups,
                ..USERS
            },
            Listed {
                filters: &["a", "n"],
                ..USERS
            },
            Listed {
                filters: &[],
                ..USERS
            },
        ] {
            assert!(cursors.read(other, &cursor).is_err(), "{other:?}");
        }
        for odd in [
            "7",
            "zz",
            cursor.get(1..).unwrap(),
            &format!("{cursor}00"),
            "ä",
        ] {
            assert!(cursors.read(USERS, odd).is_err(), "{odd}");
        }
    }
}
