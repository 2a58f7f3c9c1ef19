//! Fields of message bodies, found by the rules of their messages and not by the types that decode them.

use std::collections::BTreeSet;

use im_proto_teamtalk::{FieldKind, FieldRule, MessageRule};

/// Fields from this number on are no part of what original clients read: 20 is between original servers,
/// 100 and above are our own.
const FOREIGN: u32 = 20;

/// The next field of a body: its number, and its bytes where it has a length.
pub(crate) fn next<'a>(body: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let key = varint(body)?;
    let length = match key & 7 {
        0 => {
            varint(body)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(body)?).ok()?,
        5 => 4,
        _ => return None,
    };
    let (value, rest) = body.split_at_checked(length)?;
    *body = rest;
    Some((u32::try_from(key >> 3).ok()?, value))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn is_own(field: &FieldRule) -> bool {
    field.number < FOREIGN
}

/// Every field that a message can have, those of its records included: `user_info.user_id`.
pub(crate) fn all(rule: &MessageRule) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(rule, "", &mut found);
    found
}

fn collect(rule: &MessageRule, before: &str, found: &mut BTreeSet<String>) {
    for field in rule.fields.iter().filter(|field| is_own(field)) {
        let path = format!("{before}{}", field.name);
        match field.kind {
            FieldKind::Message(inner) => collect(inner, &format!("{path}."), found),
            _ => {
                found.insert(path);
            }
        }
    }
}

/// The fields that a body has.
pub(crate) fn present(rule: &MessageRule, body: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(rule, body, "", &mut found);
    found
}

fn walk(rule: &MessageRule, mut body: &[u8], before: &str, found: &mut BTreeSet<String>) {
    while let Some((number, value)) = next(&mut body) {
        let Some((_, field)) = rule.field(number).filter(|(_, field)| is_own(field)) else {
            continue;
        };
        let path = format!("{before}{}", field.name);
        match field.kind {
            FieldKind::Message(inner) => walk(inner, value, &format!("{path}."), found),
            _ => {
                found.insert(path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use im_codec::Command;
    use im_proto_teamtalk::TeamtalkMessage;
    use im_proto_teamtalk::base::{IpAddr, OfflineFileInfo};
    use im_proto_teamtalk::file::ImFileHasOfflineRsp;

    use super::*;

    fn listed(files: Vec<OfflineFileInfo>) -> ImFileHasOfflineRsp {
        ImFileHasOfflineRsp {
            user_id: 7,
            offline_file_list: files,
            ip_addr_list: vec![IpAddr {
                ip: "127.0.0.1".to_owned(),
                port: 8_600,
            }],
            attach_data: Some(vec![1, 2].into()),
        }
    }

    fn encoded<M: TeamtalkMessage>(message: &M) -> Vec<u8> {
        message.encode_to_vec()
    }

    #[test]
    fn fields_of_records_count_when_there_is_a_record() {
        let rule = Command::FileHasOfflineRsp.message().rule();
        assert_eq!(ImFileHasOfflineRsp::KIND.rule().name, rule.name);
        let all = all(rule);
        assert_eq!(all.len(), 7, "{all:?}");
        assert!(!all.contains("attach_data"), "no client reads it");
        let empty = present(rule, &encoded(&listed(Vec::new())));
        assert_eq!(empty.len(), 3, "{empty:?}");
        let file = OfflineFileInfo {
            from_user_id: 1,
            task_id: "t".to_owned(),
            file_name: "n".to_owned(),
            file_size: 0,
        };
        assert_eq!(present(rule, &encoded(&listed(vec![file]))), all);
    }

    #[test]
    fn a_body_that_ends_early_has_the_fields_before_the_end() {
        let rule = Command::FileHasOfflineRsp.message().rule();
        let body = encoded(&listed(Vec::new()));
        let found = present(rule, body.get(..5).unwrap());
        assert_eq!(found, BTreeSet::from(["user_id".to_owned()]));
    }
}
