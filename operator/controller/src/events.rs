//! What Kubernetes' own controllers tell in events and nowhere else.

use k8s_openapi::api::core::v1::Event;
use kube::Api;
use kube::api::ListParams;

use crate::apply::{Applier, ApplyError};

/// Events that are read at most: those of one object and reason are few, since they are counted.
const MOST: u32 = 20;

/// Why a StatefulSet with this UID could not make a pod, if its controller says so.
pub(crate) async fn why_no_pod(
    applier: &Applier<'_>,
    uid: &str,
) -> Result<Option<String>, ApplyError> {
    let api: Api<Event> = Api::namespaced(applier.client.clone(), &applier.cluster.namespace);
    let selector = format!("involvedObject.uid={uid},reason=FailedCreate");
    let parameters = ListParams::default().fields(&selector).limit(MOST);
    let found = api
        .list(&parameters)
        .await
        .map_err(|source| ApplyError::Api {
            verb: "list",
            what: "events of the StatefulSet of dbProxy".to_owned(),
            source: Box::new(source),
        })?;
    Ok(newest(found.items))
}

fn newest(events: Vec<Event>) -> Option<String> {
    let at = |event: &Event| {
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        last.max(event.event_time.as_ref().map(|time| time.0))
    };
    let last = events.into_iter().max_by_key(at)?;
    let message = last.message.unwrap_or_default();
    // `create Pod demo-db-proxy-0 in StatefulSet demo-db-proxy failed error: why`
    let why = message.split_once(" failed error: ");
    Some(why.map_or_else(|| message.clone(), |(_, why)| why.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ClusterKey;
    use crate::testing;
    use serde_json::json;

    #[tokio::test]
    async fn the_newest_reason_of_one_stateful_set_is_told() {
        let event = |time: &str, why: &str| {
            json!({"metadata": {"name": time}, "involvedObject": {}, "lastTimestamp": time,
                "message": format!("create Pod a-0 in StatefulSet a failed error: {why}")})
        };
        let (client, log) = testing::server(move |_| {
            let items = [
                event("2026-01-01T00:00:09Z", "exceeded quota: later"),
                event("2026-01-01T00:00:01Z", "exceeded quota: earlier"),
            ];
            (200, json!({"metadata": {}, "items": items}))
        });
        let cluster = ClusterKey {
            namespace: "chat".to_owned(),
            name: "a".to_owned(),
        };
        let applier = Applier {
            client: &client,
            cluster: &cluster,
            uid: "u",
        };
        let why = why_no_pod(&applier, "7").await.unwrap();
        assert_eq!(why.as_deref(), Some("exceeded quota: later"));
        let asked = log.take();
        assert_eq!(asked[0].line(), "GET /api/v1/namespaces/chat/events");
        let query = &asked[0].query;
        assert!(
            query.contains("involvedObject.uid%3D7%2Creason%3DFailedCreate"),
            "{query}"
        );
        assert_eq!(newest(Vec::new()), None);
    }
}
