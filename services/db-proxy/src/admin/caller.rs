//! Who asks for a change, and what they say about it in the metadata of the call.

use im_core::text::is_unseen;
use im_rpc::Credential;
use tonic::{Request, Status};

/// Metadata that names who wants a change.
pub(super) const ACTOR: &str = "im-actor-bin";
const CREDENTIAL: &str = "im-credential-bin";
const ADDRESS: &str = "im-address-bin";
const REQUEST: &str = "im-request-bin";
const KEY: &str = "im-idempotency-key-bin";

/// Longest name of an actor and longest idempotency key, bytes.
pub(super) const MAX_NAME: usize = 128;

/// Longest of the other texts, bytes.
const MAX_WORD: usize = 64;

/// What stands for the credential of whoever says nothing.
const ADMIN_SECRET: &str = "admin-secret";

/// Who asks for a change.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) actor: String,
    /// What they showed to whoever asks for them.
    pub(super) credential: String,
    pub(super) address: String,
    /// Number of the request at whoever asks for them; may be empty.
    pub(super) request: String,
    /// The idempotency key, if there is one.
    pub(super) key: Option<String>,
    /// Which line of the secret's file was presented; 0 inside a process.
    pub(super) secret: u8,
}

impl Caller {
    /// Reads the metadata of a call.
    ///
    /// # Errors
    ///
    /// The request does not say who, or something of it is out of bounds.
    pub(super) fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let from = request.remote_addr();
        let address = word(request, ADDRESS, MAX_WORD)?;
        let secret = request.extensions().get::<Credential>();
        Ok(Self {
            actor: actor(request)?,
            credential: word(request, CREDENTIAL, MAX_WORD)?
                .unwrap_or_else(|| ADMIN_SECRET.to_owned()),
            address: address
                .unwrap_or_else(|| from.map_or_else(String::new, |from| from.to_string())),
            request: word(request, REQUEST, MAX_WORD)?.unwrap_or_default(),
            key: word(request, KEY, MAX_NAME)?,
            secret: secret.map_or(0, |credential| credential.value),
        })
    }

    /// Whose idempotency keys are theirs.
    pub(super) fn scope(&self) -> String {
        if self.credential == ADMIN_SECRET {
            format!("actor {}", self.actor)
        } else {
            format!("credential {}", self.credential)
        }
    }
}

/// What a piece of metadata says, if it is there.
fn word<T>(request: &Request<T>, name: &str, most: usize) -> Result<Option<String>, Status> {
    match text(request, name, most) {
        Ok(text) => Ok(text),
        Err(why) => Err(Status::invalid_argument(format!(
            "metadata {name} has 1 to {most} bytes of visible characters; {why}"
        ))),
    }
}

fn actor<T>(request: &Request<T>) -> Result<String, Status> {
    let found = text(request, ACTOR, MAX_NAME);
    found
        .and_then(|text| text.ok_or_else(|| "there is none".to_owned()))
        .map_err(|why| {
            Status::invalid_argument(format!(
                "metadata {ACTOR} must name who wants the change, in 1 to {MAX_NAME} bytes of visible \
                 characters; {why}"
            ))
        })
}

fn text<T>(request: &Request<T>, name: &str, most: usize) -> Result<Option<String>, String> {
    let Some(value) = request.metadata().get_bin(name) else {
        return Ok(None);
    };
    let bytes = value.to_bytes().map_err(|_| "it is not base64")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is not UTF-8")?;
    if !(1..=most).contains(&text.len()) {
        return Err(format!("it has {}", text.len()));
    }
    if text.trim().is_empty() || text.chars().any(is_unseen) {
        return Err("it has others".to_owned());
    }
    Ok(Some(text.to_owned()))
}

#[cfg(test)]
pub(super) mod tests {
    use tonic::metadata::MetadataValue;

    use super::*;

    /// A request of somebody.
    pub(in crate::admin) fn asked<T>(message: T, words: &[(&'static str, &[u8])]) -> Request<T> {
        let mut request = Request::new(message);
        for (name, value) in words {
            let value = MetadataValue::from_bytes(value);
            request.metadata_mut().insert_bin(*name, value);
        }
        request
    }

    #[test]
    fn a_change_must_say_who_wants_it() {
        for good in ["ann", "Ann of operations", "安娜", &"x".repeat(MAX_NAME)] {
            let caller = Caller::of(&asked((), &[(ACTOR, good.as_bytes())])).unwrap();
            assert_eq!((caller.actor.as_str(), caller.key), (good, None));
            assert_eq!(caller.credential, "admin-secret");
        }
        let long = "x".repeat(MAX_NAME + 1);
        let cases: [(&[u8], &str); 5] = [
            (b"", "it has 0"),
            (long.as_bytes(), "it has 129"),
            (b"\xff\xfe", "it is not UTF-8"),
            (b"a\x1b[2Jb", "it has others"),
            (b"   ", "it has others"),
        ];
        for (actor, why) in cases {
            let status = Caller::of(&asked((), &[(ACTOR, actor)])).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument);
            assert!(status.message().ends_with(why), "{}", status.message());
        }
        let status = Caller::of(&Request::new(())).unwrap_err();
        assert!(status.message().ends_with("there is none"), "{status}");
    }

    #[test]
    fn who_asks_for_others_says_what_they_showed_and_from_where() {
        let words: [(&str, &[u8]); 5] = [
            (ACTOR, b"ann"),
            (CREDENTIAL, b"token 7"),
            (ADDRESS, b"192.0.2.1"),
            (REQUEST, b"r-1"),
            (KEY, b"k"),
        ];
        let caller = Caller::of(&asked((), &words)).unwrap();
        let Caller {
            credential,
            address,
            request,
            key,
            ..
        } = &caller;
        assert_eq!(
            (credential.as_str(), address.as_str(), request.as_str()),
            ("token 7", "192.0.2.1", "r-1")
        );
        assert_eq!(
            (key.as_deref(), caller.scope()),
            (Some("k"), "credential token 7".to_owned())
        );
        for (name, most) in [(CREDENTIAL, 64), (ADDRESS, 64), (REQUEST, 64), (KEY, 128)] {
            let of = |length: usize| {
                let long = "x".repeat(length);
                Caller::of(&asked((), &[(ACTOR, b"ann"), (name, long.as_bytes())]))
            };
            assert!(of(most).is_ok(), "{name}");
            let status = of(most + 1).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{name}");
            assert!(status.message().contains(name), "{status}");
        }
    }
}
