//! The servers that report, as they last did. Pure: links and the time come from outside.

use std::collections::BTreeMap;

use im_proto_rpc::v1::{MsgState, ServerReport};
use tokio::time::Instant;

use crate::metrics::Cut;

/// Longest texts of a report, bytes.
const MAX_NAME: usize = 128;
const MAX_ROLE: usize = 32;
const MAX_TEXT: usize = 64;
const MAX_KEY: usize = 128;

/// Most conditions and kinds of links of a report.
const MAX_MISSING: usize = 16;
const MAX_LINKS: usize = 32;

/// A server.
#[derive(Debug)]
pub(crate) struct Entry<Q> {
    pub(crate) report: ServerReport,
    /// When that came.
    pub(crate) heard: Instant,
    link: u64,
    /// Where it is asked.
    pub(crate) asks: Q,
}

/// What a report is to whoever watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// A server that was not there, or a new start of one that was.
    Up,
    /// Figures.
    None,
}

/// All of them, by name.
#[derive(Debug)]
pub(crate) struct Known<Q> {
    most: usize,
    servers: BTreeMap<String, Entry<Q>>,
}

impl<Q: Clone> Known<Q> {
    /// Nobody yet; so many at most.
    pub(crate) const fn new(most: usize) -> Self {
        Self {
            most,
            servers: BTreeMap::new(),
        }
    }

    /// A server reports on a link; later links have greater numbers.
    ///
    /// # Errors
    /// The report breaks its bounds, its server has a later link, or there are too many servers.
    pub(crate) fn report(
        &mut self,
        link: u64,
        report: ServerReport,
        asks: &Q,
        now: Instant,
    ) -> Result<News, Cut> {
        if !is_within_bounds(&report) {
            return Err(Cut::Malformed);
        }
        if let Some(entry) = self.servers.get_mut(&report.name) {
            if entry.link > link {
                return Err(Cut::Outdated);
            }
            let is_new = entry.report.instance != report.instance;
            *entry = Entry {
                report,
                heard: now,
                link,
                asks: asks.clone(),
            };
            return Ok(if is_new { News::Up } else { News::None });
        }
        if self.servers.len() >= self.most {
            return Err(Cut::TooMany);
        }
        let entry = Entry {
            heard: now,
            link,
            asks: asks.clone(),
            report,
        };
        self.servers.insert(entry.report.name.clone(), entry);
        Ok(News::Up)
    }

    /// A link is over: its server is known no more, unless it has a later one.
    pub(crate) fn gone(&mut self, link: u64, name: &str) -> Option<ServerReport> {
        let is_its_own = self.servers.get(name).is_some_and(|it| it.link == link);
        let entry = is_its_own.then(|| self.servers.remove(name)).flatten();
        entry.map(|entry| entry.report)
    }

    /// The server of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Entry<Q>> {
        self.servers.get(name)
    }

    /// All, by name, from behind a name on.
    pub(crate) fn after<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Entry<Q>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let range = self.servers.range::<str, _>((Excluded(name), Unbounded));
        range.map(|(_, entry)| entry)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.servers.len()
    }
}

fn is_state(state: &MsgState) -> bool {
    let order = state.shed.as_ref().and_then(|shed| shed.order.as_ref());
    order.is_none_or(|order| order.key.len() <= MAX_KEY)
}

fn is_within_bounds(report: &ServerReport) -> bool {
    let is_name =
        (1..=MAX_NAME).contains(&report.name.len()) && !report.name.chars().any(char::is_control);
    let is_text = |text: &String| text.len() <= MAX_TEXT;
    is_name
        && (1..=MAX_ROLE).contains(&report.role.len())
        && is_text(&report.version)
        && report.missing.len() <= MAX_MISSING
        && report.missing.iter().all(is_text)
        && report.links.len() <= MAX_LINKS
        && report.links.iter().all(|link| is_text(&link.kind))
        && report.msg.as_ref().is_none_or(is_state)
}

#[cfg(test)]
mod tests {
    use im_proto_rpc::v1::{LinkCount, ShedRequest, ShedState};

    use super::*;

    fn report(name: &str, instance: u64) -> ServerReport {
        ServerReport {
            name: name.to_owned(),
            role: "msg".to_owned(),
            instance,
            ..ServerReport::default()
        }
    }

    fn names(known: &Known<()>) -> Vec<&str> {
        known.after("").map(|it| it.report.name.as_str()).collect()
    }

    #[test]
    fn a_server_is_known_while_its_last_link_lives() {
        let now = Instant::now();
        let mut known = Known::new(10);
        assert_eq!(known.report(1, report("b", 1), &(), now), Ok(News::Up));
        assert_eq!(known.report(1, report("b", 1), &(), now), Ok(News::None));
        assert_eq!(known.report(2, report("a", 1), &(), now), Ok(News::Up));
        assert_eq!(names(&known), ["a", "b"]);
        assert_eq!(known.after("a").count(), 1);
        // It was started anew before the end of its link was noticed.
        assert_eq!(known.report(3, report("b", 2), &(), now), Ok(News::Up));
        assert_eq!(
            known.report(1, report("b", 1), &(), now),
            Err(Cut::Outdated)
        );
        assert_eq!(known.gone(1, "b"), None);
        assert_eq!(known.gone(3, "b").map(|report| report.instance), Some(2));
        assert_eq!(names(&known), ["a"]);
    }

    #[test]
    fn servers_beyond_the_bound_are_refused_and_those_that_are_known_are_not() {
        let now = Instant::now();
        let mut known = Known::new(2);
        for (link, name) in [(1, "a"), (2, "b")] {
            assert!(known.report(link, report(name, 1), &(), now).is_ok());
        }
        assert_eq!(known.report(3, report("c", 1), &(), now), Err(Cut::TooMany));
        assert!(known.report(4, report("a", 2), &(), now).is_ok());
        known.gone(2, "b");
        assert!(known.report(5, report("c", 1), &(), now).is_ok());
        assert_eq!(known.len(), 2);
    }

    fn state(key: String) -> MsgState {
        let order = ShedRequest {
            key,
            ..ShedRequest::default()
        };
        MsgState {
            shed: Some(ShedState {
                order: Some(order),
                ..ShedState::default()
            }),
            ..MsgState::default()
        }
    }

    #[test]
    fn a_report_beyond_its_bounds_is_refused() {
        let changed = |change: fn(&mut ServerReport)| {
            let mut report = report("a", 1);
            change(&mut report);
            is_within_bounds(&report)
        };
        assert!(changed(|_| {}));
        for change in [
            (|report| report.name = String::new()) as fn(&mut ServerReport),
            |report| report.name = "x".repeat(129),
            |report| report.name = "a\nb".to_owned(),
            |report| report.role = String::new(),
            |report| report.role = "x".repeat(33),
            |report| report.version = "x".repeat(65),
            |report| report.missing = vec![String::new(); 17],
            |report| report.missing = vec!["x".repeat(65)],
            |report| report.links = vec![LinkCount::default(); 33],
            |report| report.msg = Some(state("x".repeat(129))),
        ] {
            assert!(!changed(change));
        }
        assert!(changed(|report| {
            report.name = "x".repeat(128);
            report.missing = vec!["x".repeat(64); 16];
            report.links = vec![LinkCount::default(); 32];
            report.msg = Some(state("x".repeat(128)));
        }));
    }
}
