//! Forms of stored password hashes, and the arithmetic on them.
//!
//! What is hashed is never the password but the *digest* that clients send: its MD5 in lower-case
//! hex. It is stored as a PHC string of argon2, or, as it came from an
//! original installation, as `$teamtalk$SALT$MD5HEX` with `MD5HEX = md5hex(digest + SALT)`.
//!
//! Everything here computes at once on the calling thread; the pool decides where that is.

use argon2::password_hash::phc::{Decimal, Ident, Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Params, Version};
use im_config::AccountsConfig;
use md5::{Digest as _, Md5};
use subtle::ConstantTimeEq as _;

const TEAMTALK: &str = "$teamtalk$";

/// Bytes of the output of our own hashes.
const OUTPUT_LEN: usize = 32;

/// Why a text is no hash that this installation accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadHash {
    /// Neither a PHC string nor of the imported form.
    #[error("is neither a PHC string nor $teamtalk$SALT$MD5HEX")]
    Form,
    /// A PHC string of something else than argon2.
    #[error("is a PHC string of an unknown algorithm, argon2 is wanted")]
    Algorithm,
    /// argon2 with parameters that do not exist or cost more than is allowed.
    #[error("has argon2 parameters outside the allowed range")]
    Parameters,
}

/// Parameters of new hashes and the bound of accepted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashPolicy {
    memory_kib: u32,
    iterations: u32,
    lanes: u32,
    max_memory_kib: u32,
}

/// Most passes and lanes that an accepted hash may ask for.
const MAX_ITERATIONS: u32 = 16;
const MAX_LANES: u32 = 16;

impl From<&AccountsConfig> for HashPolicy {
    fn from(config: &AccountsConfig) -> Self {
        Self {
            memory_kib: config.argon2_memory.as_kib(),
            iterations: config.argon2_iterations,
            lanes: config.argon2_lanes,
            max_memory_kib: config.max_hash_memory.as_kib(),
        }
    }
}

/// A stored hash that was understood.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum StoredHash {
    /// argon2, with everything that it takes to compute it again.
    Argon2 {
        algorithm: Algorithm,
        version: Version,
        params: Params,
        salt: Salt,
        output: Output,
    },
    /// Imported from an original installation.
    TeamTalk { salt: String, md5: String },
}

/// What checking a digest against a stored hash found.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another password.
    Wrong,
    /// The right one; the hash may stay.
    Right,
    /// The right one; this hash should replace the stored one.
    RightOutdated(String),
}

impl StoredHash {
    /// Understands a stored or imported hash.
    pub(crate) fn parse(text: &str, policy: &HashPolicy) -> Result<Self, BadHash> {
        if let Some(rest) = text.strip_prefix(TEAMTALK) {
            let (salt, md5) = rest.rsplit_once('$').ok_or(BadHash::Form)?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            let valid = md5.len() == 32
                && md5.bytes().all(is_hex)
                && salt.len() <= 64
                && !salt.contains('$');
            return if valid {
                Ok(Self::TeamTalk {
                    salt: salt.to_owned(),
                    md5: md5.to_owned(),
                })
            } else {
                Err(BadHash::Form)
            };
        }
        let phc = PasswordHash::new(text).map_err(|_| BadHash::Form)?;
        let algorithm = Algorithm::new(phc.algorithm.as_str()).map_err(|_| BadHash::Algorithm)?;
        let version = match phc.version {
            Some(version) => Version::try_from(version).map_err(|_| BadHash::Parameters)?,
            None => Version::V0x10,
        };
        let params = Params::try_from(&phc).map_err(|_| BadHash::Parameters)?;
        if params.m_cost() > policy.max_memory_kib.max(policy.memory_kib)
            || params.t_cost() > MAX_ITERATIONS.max(policy.iterations)
            || params.p_cost() > MAX_LANES.max(policy.lanes)
        {
            return Err(BadHash::Parameters);
        }
        match (phc.salt, phc.hash) {
            (Some(salt), Some(output)) => Ok(Self::Argon2 {
                algorithm,
                version,
                params,
                salt,
                output,
            }),
            _ => Err(BadHash::Form),
        }
    }

    /// Checks a digest. Takes as long for a wrong one as for a right one, and for an imported hash
    /// as long as for one of ours.
    pub(crate) fn verify(&self, digest: &str, policy: &HashPolicy) -> Verdict {
        match self {
            Self::Argon2 {
                algorithm,
                version,
                params,
                salt,
                output,
            } => {
                let argon2 = Argon2::new(*algorithm, *version, params.clone());
                if !matches(&argon2, digest, salt, output) {
                    Verdict::Wrong
                } else if *algorithm == Algorithm::Argon2id
                    && *version == Version::V0x13
                    && policy.is_met_by(params)
                {
                    Verdict::Right
                } else {
                    make(digest, policy).map_or(Verdict::Right, Verdict::RightOutdated)
                }
            }
            Self::TeamTalk { salt, md5 } => {
                let computed = teamtalk_md5(digest, salt);
                let right: bool = computed.as_bytes().ct_eq(md5.as_bytes()).into();
                let outdated = make(digest, policy);
                match (right, outdated) {
                    (false, _) => Verdict::Wrong,
                    (true, Ok(hash)) => Verdict::RightOutdated(hash),
                    (true, Err(_)) => Verdict::Right,
                }
            }
        }
    }
}

impl HashPolicy {
    /// Whether a text is a hash that logins can be checked against.
    ///
    /// # Errors
    /// Why it is none.
    pub fn check(&self, text: &str) -> Result<(), BadHash> {
        StoredHash::parse(text, self).map(drop)
    }

    fn params(&self) -> Result<Params, BadHash> {
        Params::new(
            self.memory_kib,
            self.iterations,
            self.lanes,
            Some(OUTPUT_LEN),
        )
        .map_err(|_| BadHash::Parameters)
    }

    fn is_met_by(&self, params: &Params) -> bool {
        params.m_cost() == self.memory_kib
            && params.t_cost() == self.iterations
            && params.p_cost() == self.lanes
    }
}

/// Hashes a digest with a new salt.
pub(crate) fn make(digest: &str, policy: &HashPolicy) -> Result<String, BadHash> {
    let bytes: [u8; 16] = rand::random();
    let salt = Salt::new(&bytes).map_err(|_| BadHash::Parameters)?;
    let params = policy.params()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let output = Output::init_with(OUTPUT_LEN, |out| {
        argon2
            .hash_password_into(digest.as_bytes(), &salt, out)
            .map_err(|_| argon2::password_hash::phc::Error::ParamValueInvalid)
    })
    .map_err(|_| BadHash::Parameters)?;
    let phc = PasswordHash {
        algorithm: Ident::new(Algorithm::Argon2id.as_str()).map_err(|_| BadHash::Algorithm)?,
        version: Some(Decimal::from(Version::V0x13)),
        params: ParamsString::try_from(&params).map_err(|_| BadHash::Parameters)?,
        salt: Some(salt),
        hash: Some(output),
    };
    Ok(phc.to_string())
}

/// The digest that clients send for a password.
pub fn digest_of(password: &str) -> String {
    hex(&Md5::digest(password.as_bytes()))
}

fn matches(argon2: &Argon2<'_>, digest: &str, salt: &Salt, expected: &Output) -> bool {
    let mut out = vec![0; expected.len()];
    argon2
        .hash_password_into(digest.as_bytes(), salt, &mut out)
        .is_ok()
        && bool::from(out.ct_eq(expected.as_bytes()))
}

fn teamtalk_md5(digest: &str, salt: &str) -> String {
    hex(&Md5::new()
        .chain_update(digest.as_bytes())
        .chain_update(salt.as_bytes())
        .finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let written = write!(text, "{byte:02x}");
            debug_assert!(written.is_ok(), "a String takes everything");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> HashPolicy {
        HashPolicy {
            memory_kib: 8,
            iterations: 1,
            lanes: 1,
            max_memory_kib: 64,
        }
    }

    fn verify(hash: &str, password: &str) -> Verdict {
        StoredHash::parse(hash, &tiny())
            .unwrap()
            .verify(&digest_of(password), &tiny())
    }

    #[test]
    fn digests_are_those_of() {
        for (password, digest) in [
            ("123456", "e10adc3949ba59abbe56e057f20f883e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("password", "5f4dcc3b5aa765d61d8327deb882cf99"),
            ("admin", "21232f297a57a5a743894a0e4a801fc3"),
            ("test", "098f6bcd4621d373cade4e832627b4f6"),
            ("密码123", "d18902dd4cc8df459a9e769dc749888d"),
        ] {
            assert_eq!(digest_of(password), digest);
        }
    }

    #[test]
    fn a_new_hash_is_a_phc_string_with_its_parameters_and_verifies() {
        let hash = make(&digest_of("secret"), &tiny()).unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert!(verify(&hash, "secret") == Verdict::Right);
        assert!(verify(&hash, "Secret") == Verdict::Wrong);
        assert_ne!(
            hash,
            make(&digest_of("secret"), &tiny()).unwrap(),
            "each has its own salt"
        );
    }

    #[test]
    fn a_hash_with_other_parameters_is_replaced_when_it_verifies() {
        let old = HashPolicy {
            iterations: 2,
            ..tiny()
        };
        let hash = make(&digest_of("secret"), &old).unwrap();
        let Verdict::RightOutdated(new) = verify(&hash, "secret") else {
            panic!("should ask for a replacement");
        };
        assert!(new.contains("m=8,t=1,p=1"));
        assert!(verify(&new, "secret") == Verdict::Right);
        assert!(verify(&hash, "other") == Verdict::Wrong);
    }

    #[test]
    fn an_imported_hash_is_md5_of_digest_and_salt_and_is_replaced_when_it_verifies() {
        // md5hex("e10adc3949ba59abbe56e057f20f883e" + "4321")
        let hash = format!(
            "$teamtalk$4321${}",
            teamtalk_md5(&digest_of("123456"), "4321")
        );
        assert_eq!(hash, "$teamtalk$4321$ebd291c31af7a8496cfd0a94f89b757b");
        let Verdict::RightOutdated(new) = verify(&hash, "123456") else {
            panic!("should ask for a replacement");
        };
        assert!(verify(&new, "123456") == Verdict::Right);
        assert!(verify(&hash, "1234567") == Verdict::Wrong);
    }

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_refused_with_the_reason() {
        let salt = "c2FsdHNhbHRzYWx0";
        let out = "SqlVijFGiPG+935vDSGEsA";
        for (text, error) in [
            (String::new(), BadHash::Form),
            ("plain".to_owned(), BadHash::Form),
            ("$teamtalk$12".to_owned(), BadHash::Form),
            (
                "$teamtalk$12$ABCDEF0123456789abcdef0123456789".to_owned(),
                BadHash::Form,
            ),
            (
                "$teamtalk$1$2$abcdef0123456789abcdef0123456789".to_owned(),
                BadHash::Form,
            ),
            (format!("$argon2id$v=19$m=8,t=1,p=1${salt}"), BadHash::Form),
            (format!("$scrypt$ln=4${salt}${out}"), BadHash::Algorithm),
            (
                format!("$argon2id$v=19$m=65,t=1,p=1${salt}${out}"),
                BadHash::Parameters,
            ),
            (
                format!("$argon2id$v=19$m=64,t=17,p=1${salt}${out}"),
                BadHash::Parameters,
            ),
            (
                format!("$argon2id$v=19$m=1,t=1,p=1${salt}${out}"),
                BadHash::Parameters,
            ),
        ] {
            assert_eq!(
                StoredHash::parse(&text, &tiny()).err(),
                Some(error),
                "{text}"
            );
        }
        let good = format!("$argon2id$v=19$m=64,t=16,p=1${salt}${out}");
        assert!(StoredHash::parse(&good, &tiny()).is_ok());
    }
}
