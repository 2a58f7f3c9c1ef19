//! What clients are told, to the byte.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use im_codec::{Command, encode};
use im_config::WHERE_ASKED;
use im_proto_teamtalk::base::ResultType;
use im_proto_teamtalk::login::ImMsgServRsp;

use crate::table::{Address, Choice};

/// Texts of the original.
const NOBODY: &str = "没有msg_server";
const ALL_FULL: &str = "负载过高";

/// What every answer repeats.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    /// The base URL of pictures as the configuration has it, and as it is told now. Clones share the latter.
    configured_msfs: String,
    msfs: Arc<Mutex<Arc<str>>>,
    discovery: String,
    retry_after_s: u32,
}

impl Answers {
    pub(crate) fn new(msfs: &str, discovery: &str, retry_after_s: u32) -> Self {
        Self {
            configured_msfs: msfs.to_owned(),
            msfs: Arc::new(Mutex::new(msfs.into())),
            discovery: discovery.to_owned(),
            retry_after_s,
        }
    }

    /// From now on clients are told this base URL of pictures; an empty one is that of the configuration.
    pub(crate) fn set_msfs(&self, url: &str) {
        let url = if url.is_empty() {
            &self.configured_msfs
        } else {
            url
        };
        *self.msfs.lock().unwrap_or_else(PoisonError::into_inner) = url.into();
    }

    /// The whole HTTP answer to a client that came to this address of ours. Its header lines have no blank
    /// after the colon, and its status is 200 even for a failure; `Retry-After` is ours and in failures only.
    pub(crate) fn http(&self, choice: &Choice, local: Option<IpAddr>) -> Vec<u8> {
        let (body, retry) = match choice {
            Choice::Fresh(address) | Choice::LastKnown(address) => {
                (self.success(address, local), None)
            }
            Choice::Nobody => (failure(1, NOBODY), Some(self.retry_after_s)),
            Choice::AllFull => (failure(2, ALL_FULL), Some(self.retry_after_s)),
        };
        let retry = retry
            .map(|seconds| format!("Retry-After:{seconds}\r\n"))
            .unwrap_or_default();
        format!(
            "HTTP/1.1 200 OK\r\n\
             Connection:close\r\n\
             Content-Length:{}\r\n\
             Content-Type:text/html;charset=utf-8\r\n\
             {retry}\r\n\
             {body}",
            body.len()
        )
        .into_bytes()
    }

    /// The port is text: Windows reads it so, the others convert.
    fn success(&self, address: &Address, local: Option<IpAddr>) -> String {
        let discovery = json(&where_asked(&self.discovery, local));
        let msfs = json(&where_asked(&self.msfs(), local));
        let (prior, backup) = (json(&address.ip1), json(&address.ip2));
        let port = address.port;
        format!(
            "{{\n   \
                \"backupIP\" : {backup},\n   \
                \"code\" : 0,\n   \
                \"discovery\" : {discovery},\n   \
                \"msfsBackup\" : {msfs},\n   \
                \"msfsPrior\" : {msfs},\n   \
                \"msg\" : \"\",\n   \
                \"port\" : \"{port}\",\n   \
                \"priorIP\" : {prior}\n\
             }}\n"
        )
    }

    fn msfs(&self) -> Arc<str> {
        Arc::clone(&self.msfs.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A URL as who came to this address of ours is told: with [`WHERE_ASKED`] as its host it is that address.
fn where_asked(url: &str, local: Option<IpAddr>) -> Cow<'_, str> {
    let rest = url
        .strip_prefix("http://")
        .and_then(|rest| rest.strip_prefix(WHERE_ASKED));
    let asked = rest
        .zip(local)
        .and_then(|(rest, local)| Some((rest.strip_prefix(':')?.split_once('/')?, local)));
    let Some(((port, path), local)) = asked else {
        return url.into();
    };
    match port.parse() {
        Ok(port) => {
            let at = SocketAddr::new(local.to_canonical(), port);
            format!("http://{at}/{path}").into()
        }
        Err(_) => url.into(),
    }
}

fn failure(code: u32, text: &str) -> String {
    format!("{{\n   \"code\" : {code},\n   \"msg\" : \"{text}\"\n}}\n")
}

/// Text as JSON, in quotes.
fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The frame 0x0102 with the request's sequence number.
pub(crate) fn binary(choice: &Choice, seq: u16) -> Bytes {
    let failed = |code: ResultType| ImMsgServRsp {
        result_code: code.into(),
        prior_ip: None,
        backip_ip: None,
        port: None,
    };
    let answer = match choice {
        Choice::Fresh(address) | Choice::LastKnown(address) => ImMsgServRsp {
            prior_ip: Some(address.ip1.clone()),
            backip_ip: Some(address.ip2.clone()),
            port: Some(u32::from(address.port)),
            ..failed(ResultType::RefuseReasonNone)
        },
        Choice::Nobody => failed(ResultType::RefuseReasonNoMsgServer),
        Choice::AllFull => failed(ResultType::RefuseReasonMsgServerFull),
    };
    encode(Command::MsgServRsp, seq, &answer)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The base URL of pictures that a client is told.
    pub(crate) fn told_msfs(answers: &Answers) -> String {
        let answer = String::from_utf8(answers.http(&Choice::Fresh(address()), None)).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        value["msfsPrior"].as_str().unwrap().to_owned()
    }

    fn answers() -> Answers {
        Answers::new(
            "http://127.0.0.1:8700/",
            "http://127.0.0.1/api/discovery",
            3,
        )
    }

    fn address() -> Address {
        Address {
            ip1: "10.0.0.11".to_owned(),
            ip2: "10.0.0.12".to_owned(),
            port: 8000,
        }
    }

    /// Wire 9.2.
    #[test]
    fn the_http_answer_is_that_of_the_original_to_the_byte() {
        let expected = "HTTP/1.1 200 OK\r\n\
            Connection:close\r\n\
            Content-Length:248\r\n\
            Content-Type:text/html;charset=utf-8\r\n\
            \r\n\
            {\n\
            \x20  \"backupIP\" : \"10.0.0.12\",\n\
            \x20  \"code\" : 0,\n\
            \x20  \"discovery\" : \"http://127.0.0.1/api/discovery\",\n\
            \x20  \"msfsBackup\" : \"http://127.0.0.1:8700/\",\n\
            \x20  \"msfsPrior\" : \"http://127.0.0.1:8700/\",\n\
            \x20  \"msg\" : \"\",\n\
            \x20  \"port\" : \"8000\",\n\
            \x20  \"priorIP\" : \"10.0.0.11\"\n\
            }\n";
        let answer = answers().http(&Choice::Fresh(address()), None);
        assert_eq!(String::from_utf8(answer).unwrap(), expected);
        assert_eq!(
            answers().http(&Choice::LastKnown(address()), None),
            answers().http(&Choice::Fresh(address()), None)
        );
    }

    #[test]
    fn pictures_and_links_are_where_the_client_asked_if_the_configuration_says_so() {
        for (msfs, local, expected) in [
            ("http://*:8700/", "10.0.0.1", "http://10.0.0.1:8700/"),
            (
                "http://*:8700/a/",
                "::ffff:10.0.0.1",
                "http://10.0.0.1:8700/a/",
            ),
            (
                "http://*:8700/",
                "2001:db8::1",
                "http://[2001:db8::1]:8700/",
            ),
            ("http://f.example.com/", "10.0.0.1", "http://f.example.com/"),
            ("http://*/", "10.0.0.1", "http://*/"),
        ] {
            let answers = Answers::new(msfs, msfs, 1);
            let local = Some(local.parse().unwrap());
            let answer = answers.http(&Choice::Fresh(address()), local);
            let answer = String::from_utf8(answer).unwrap();
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            let value: serde_json::Value = serde_json::from_str(body).unwrap();
            for key in ["msfsPrior", "msfsBackup", "discovery"] {
                assert_eq!(value[key], expected, "{key}");
            }
        }
    }

    /// Wire 9.2; `Retry-After` is the one addition.
    #[test]
    fn failures_have_the_originals_code_and_text() {
        let check = |choice, length, code, text: &str| {
            let expected = format!(
                "HTTP/1.1 200 OK\r\n\
                 Connection:close\r\n\
                 Content-Length:{length}\r\n\
                 Content-Type:text/html;charset=utf-8\r\n\
                 Retry-After:3\r\n\
                 \r\n\
                 {{\n   \"code\" : {code},\n   \"msg\" : \"{text}\"\n}}\n"
            );
            assert_eq!(
                String::from_utf8(answers().http(&choice, None)).unwrap(),
                expected
            );
        };
        check(Choice::Nobody, 49, 1, "没有msg_server");
        check(Choice::AllFull, 45, 2, "负载过高");
    }

    #[test]
    fn texts_from_the_configuration_cannot_break_the_json() {
        let answers = Answers::new("http://x/\"}/", "a\\b\n", 1);
        let answer = String::from_utf8(answers.http(&Choice::Fresh(address()), None)).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(value["msfsPrior"], "http://x/\"}/");
        assert_eq!(value["discovery"], "a\\b\n");
        assert_eq!(value["port"], "8000");
    }

    /// Golden frame F45.
    #[test]
    fn the_binary_answer_is_golden_frame_45() {
        let mut golden = vec![
            0, 0, 0, 0x2b, 0, 1, 0, 0, 0, 1, 1, 2, 0, 1, 0, 0, 8, 0, 0x12, 9,
        ];
        golden.extend_from_slice(b"10.0.0.11");
        golden.extend_from_slice(&[0x1a, 9]);
        golden.extend_from_slice(b"10.0.0.12");
        golden.extend_from_slice(&[0x20, 0xc0, 0x3e]);
        assert_eq!(binary(&Choice::Fresh(address()), 1), golden);
        assert_eq!(
            binary(&Choice::Nobody, 9).as_ref(),
            [0, 0, 0, 18, 0, 1, 0, 0, 0, 1, 1, 2, 0, 9, 0, 0, 0x08, 1]
        );
        assert_eq!(binary(&Choice::AllFull, 9).last(), Some(&2));
    }
}
