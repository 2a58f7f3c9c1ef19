//! Which messages the filter is asked about.
//!
//! Pure.

use im_config::{FilterConfig, FilterKind};
use im_core::{Conversation, GroupId, UserId};

/// Kinds, groups and senders; sorted, none = all.
#[derive(Clone, Debug)]
pub(super) struct About {
    kinds: Vec<FilterKind>,
    groups: Vec<GroupId>,
    senders: Vec<UserId>,
}

impl About {
    pub(super) fn new(config: &FilterConfig) -> Self {
        let mut groups: Vec<_> = { config.groups.iter() }
            .filter_map(|id| GroupId::from_wire(*id))
            .collect();
        let mut senders: Vec<_> = { config.senders.iter() }
            .filter_map(|id| UserId::from_wire(*id))
            .collect();
        groups.sort_unstable();
        senders.sort_unstable();
        Self {
            kinds: config.kinds.clone(),
            groups,
            senders,
        }
    }

    pub(super) fn matches(
        &self,
        sender: UserId,
        conversation: Conversation,
        msg_type: u32,
    ) -> bool {
        let of_kind = self.kinds.is_empty() || self.kinds.contains(&kind(msg_type));
        let of_sender = self.senders.is_empty() || self.senders.binary_search(&sender).is_ok();
        let of_group = self.groups.is_empty()
            || matches!(conversation, Conversation::Group(it) if self.groups.binary_search(&it).is_ok());
        of_kind && of_sender && of_group
    }
}

/// The kind of a message that can be sent.
pub(super) const fn kind(msg_type: u32) -> FilterKind {
    if msg_type & 0x0f == 0x02 {
        FilterKind::Voice
    } else {
        FilterKind::Text
    }
}

#[cfg(test)]
mod tests {
    use im_core::Peer;

    use super::*;

    fn user(id: u32) -> UserId {
        UserId::from_wire(id).unwrap()
    }

    #[test]
    fn a_message_is_asked_about_where_kind_group_and_sender_match() {
        let to_user = Conversation::of(user(1), Peer::User(user(2))).unwrap();
        let group = |id| Conversation::Group(GroupId::from_wire(id).unwrap());
        let about = |change: fn(&mut FilterConfig)| {
            let mut config = FilterConfig::default();
            change(&mut config);
            About::new(&config)
        };
        let all = about(|_| {});
        for msg_type in [0x01, 0x02] {
            assert!(all.matches(user(1), to_user, msg_type));
            assert!(all.matches(user(1), group(7), msg_type | 0x10));
        }
        let texts = about(|config| config.kinds = vec![FilterKind::Text]);
        assert!(texts.matches(user(1), to_user, 0x01) && texts.matches(user(1), group(7), 0x11));
        assert!(!texts.matches(user(1), to_user, 0x02) && !texts.matches(user(1), group(7), 0x12));
        let groups = about(|config| config.groups = vec![9, 7]);
        assert!(groups.matches(user(1), group(7), 0x11));
        assert!(!groups.matches(user(1), group(8), 0x11));
        assert!(!groups.matches(user(1), to_user, 0x01), "no group");
        let senders = about(|config| config.senders = vec![5, 1]);
        assert!(senders.matches(user(1), to_user, 0x01));
        assert!(!senders.matches(user(2), to_user, 0x01));
        let both = about(|config| (config.groups, config.senders) = (vec![7], vec![1]));
        assert!(both.matches(user(1), group(7), 0x12));
        assert!(!both.matches(user(2), group(7), 0x12));
    }
}
