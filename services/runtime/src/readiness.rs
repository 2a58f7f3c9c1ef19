//! Which named conditions a process still waits for.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// Named conditions; the process is ready when all of them hold.
///
/// A role declares its conditions when it is made (`set("db_proxy_link", false)`), before anybody
/// asks: a condition that nobody named does not hold a process back.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<watch::Sender<BTreeMap<String, bool>>>);

impl Readiness {
    /// Says whether a condition holds.
    pub fn set(&self, condition: &str, holds: bool) {
        self.0.send_if_modified(|conditions| {
            if conditions.get(condition) == Some(&holds) {
                return false;
            }
            conditions.insert(condition.to_owned(), holds);
            true
        });
    }

    /// Forgets a condition.
    pub fn remove(&self, condition: &str) {
        self.0
            .send_if_modified(|conditions| conditions.remove(condition).is_some());
    }

    /// The conditions that do not hold.
    pub fn missing(&self) -> Vec<String> {
        missing(&self.0.borrow())
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().values().all(|holds| *holds)
    }

    /// Waits until every condition holds.
    pub async fn ready(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives in `self`, so this cannot fail before it is true.
        drop(
            changes
                .wait_for(|conditions| conditions.values().all(|holds| *holds))
                .await,
        );
    }
}

fn missing(conditions: &BTreeMap<String, bool>) -> Vec<String> {
    conditions
        .iter()
        .filter(|(_, holds)| !**holds)
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
}
