//! Which named conditions a process still waits for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Named conditions; the process is ready when all of them are met.
///
/// A role declares its conditions when it is made (`set("db_proxy_link", false)`), before anybody
/// asks: a condition that nobody named does not hold a process back.
///
/// A dependency is met once it has answered. That it is away later is no reason to send clients
/// elsewhere, since all others would lose it as well; [`Self::conditions`] tells the present.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<watch::Sender<BTreeMap<String, Condition>>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    /// Now.
    holds: bool,
    /// For readiness.
    is_met: bool,
}

impl Readiness {
    /// Says whether a condition holds, which is whether it is met.
    pub fn set(&self, condition: &str, holds: bool) {
        let state = Condition {
            holds,
            is_met: holds,
        };
        self.change(condition, |_| state);
    }

    /// Says whether a dependency answers now; it is met from the first time on, until [`Self::set`]
    /// says otherwise.
    pub fn dependency(&self, condition: &str, holds: bool) {
        self.change(condition, |before| Condition {
            holds,
            is_met: holds || before.is_some_and(|before| before.is_met),
        });
    }

    /// Shows whether a condition holds; that it does not holds the process back no more.
    pub fn show(&self, condition: &str, holds: bool) {
        self.change(condition, |_| Condition {
            holds,
            is_met: true,
        });
    }

    fn change(&self, condition: &str, change: impl FnOnce(Option<Condition>) -> Condition) {
        self.0.send_if_modified(|conditions| {
            let before = conditions.get(condition).copied();
            let after = change(before);
            if before == Some(after) {
                return false;
            }
            conditions.insert(condition.to_owned(), after);
            true
        });
    }

    /// Forgets a condition.
    pub fn remove(&self, condition: &str) {
        self.0
            .send_if_modified(|conditions| conditions.remove(condition).is_some());
    }

    /// Every condition and whether it holds now.
    pub fn conditions(&self) -> BTreeMap<String, bool> {
        let conditions = self.0.borrow();
        let now = conditions
            .iter()
            .map(|(name, condition)| (name.clone(), condition.holds));
        now.collect()
    }

    /// The conditions that are not met.
    pub fn missing(&self) -> Vec<String> {
        missing(&self.0.borrow())
    }

    /// Whether every condition is met.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().values().all(|condition| condition.is_met)
    }

    /// Waits until every condition is met.
    pub async fn ready(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives in `self`, so this cannot fail before it is true.
        drop(
            changes
                .wait_for(|conditions| conditions.values().all(|condition| condition.is_met))
                .await,
        );
    }
}

fn missing(conditions: &BTreeMap<String, Condition>) -> Vec<String> {
    conditions
        .iter()
        .filter(|(_, condition)| !condition.is_met)
        .map(|(name, _)| name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_ready_when_every_named_condition_holds() {
        let readiness = Readiness::default();
        readiness.set("store", false);
        readiness.set("route_link", false);
        assert_eq!(readiness.missing(), ["route_link", "store"]);
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        readiness.set("store", true);
        assert!(!readiness.is_ready());
        readiness.remove("route_link");
        waiting.await.unwrap();
        assert!(readiness.is_ready());
    }

    #[test]
    fn a_dependency_that_has_answered_once_does_not_hold_the_process_back_any_more() {
        let readiness = Readiness::default();
        readiness.dependency("route_link", false);
        assert!(!readiness.is_ready());
        readiness.dependency("route_link", true);
        readiness.dependency("route_link", false);
        assert!(readiness.is_ready() && readiness.missing().is_empty());
        assert!(!readiness.conditions()["route_link"], "the truth is told");
        readiness.set("route_link", false);
        assert_eq!(readiness.missing(), ["route_link"]);
    }

    #[test]
    fn a_condition_that_is_only_shown_does_not_hold_the_process_back() {
        let readiness = Readiness::default();
        readiness.set("owns_log", false);
        assert!(!readiness.is_ready());
        readiness.show("owns_log", false);
        assert!(readiness.is_ready());
        assert!(!readiness.conditions()["owns_log"], "the truth is told");
    }
}
