//! Until when a certificate is good: the one field of it that operators are shown (RFC 5280, 4.1).

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SEQUENCE: u8 = 0x30;
/// The version of a certificate, which one of version 1 leaves out.
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Unix seconds at which a certificate (DER) ends; nothing when it is built in a way that is not known.
pub(super) fn end(certificate: &[u8]) -> Option<i64> {
    let (SEQUENCE, certificate, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut rest, _) = element(certificate)? else {
        return None;
    };
    if let (VERSION, _, after) = element(rest)? {
        rest = after;
    }
    // Serial number, algorithm of the signature, issuer.
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (SEQUENCE, validity, _) = element(rest)? else {
        return None;
    };
    let (_, _, after_begin) = element(validity)?;
    let (kind, text, _) = element(after_begin)?;
    seconds(kind, std::str::from_utf8(text).ok()?)
}

/// The first element of DER: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk::<2>()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
        // Four bytes of length are 4 GiB.
        if digits.len() > 4 {
            return None;
        }
        let value = |sum: usize, digit: &u8| sum.checked_mul(256)?.checked_add((*digit).into());
        length = digits.iter().try_fold(0, value)?;
        rest = after;
    }
    let (content, after) = rest.split_at_checked(length)?;
    Some((tag, content, after))
}

/// A time as certificates write it, in UTC.
fn seconds(kind: u8, text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let text = match kind {
        // Two digits of a year are 1950 to 2049.
        UTC_TIME => {
            let century = if text < "50" { "20" } else { "19" };
            format!("{century}{text}")
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let time = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    let time = time.to_zoned(TimeZone::UTC).ok()?;
    Some(time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(year, 3, 1);
        let key = KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_is_found_in_either_spelling_of_a_time() {
        assert_eq!(end(&certificate(2027)), Some(1_803_859_200));
        // From 2050 on the year has four digits.
        assert_eq!(end(&certificate(2060)), Some(2_845_324_800));
        assert_eq!(seconds(UTC_TIME, "700101000001Z"), Some(1));
    }

    #[test]
    fn what_is_cut_off_or_something_else_has_no_end_and_is_no_fault() {
        let whole = certificate(2027);
        for length in 0..200 {
            let end = end(whole.get(..length).unwrap());
            assert_eq!(end, None, "{length} bytes");
        }
        for other in [
            b"-----BEGIN".as_slice(),
            &[SEQUENCE, 0x85, 1, 1, 1, 1, 1],
            &[SEQUENCE, 0xff],
        ] {
            assert_eq!(end(other), None);
        }
        for (kind, text) in [
            (UTC_TIME, "2703010000Z"),
            (UTC_TIME, "270301000000"),
            (4, "270301000000Z"),
        ] {
            assert_eq!(seconds(kind, text), None, "{text}");
        }
    }
}
