//! What of a specification is valid and seldom meant.

use std::iter;

use im_operator_api::{ExternalType, ImClusterSpec, ServiceType, TrafficPolicy};

use crate::{Role, pod};

/// Seconds that cluster-autoscaler gives the pods of a node that it removes, unless told otherwise.
const AUTOSCALER_GRACE: i32 = 600;

/// A line for each.
pub(crate) fn of(spec: &ImClusterSpec) -> Vec<String> {
    let msg = &spec.roles.msg;
    let mut hints = Vec::new();
    let grace = pod::grace(spec, Role::MSG);
    if grace > AUTOSCALER_GRACE {
        hints.push(format!(
            "spec.roles.msg.drain.maxSeconds: {}: cluster-autoscaler cuts pods of a node that it removes off \
             after {AUTOSCALER_GRACE} s; set its --max-graceful-termination-sec to {grace} or more",
            msg.drain.max_seconds
        ));
    }
    let external = &msg.external;
    let mut from_outside = vec![(
        "msg.external".to_owned(),
        external.kind != ExternalType::None,
        external.external_traffic_policy,
    )];
    let login = ("login", &spec.roles.login.service);
    let optional = spec.roles.optional.iter();
    let optional = optional.map(|(field, said)| (field.as_str(), &said.service));
    for (field, service) in iter::once(login).chain(optional) {
        from_outside.push((
            format!("{field}.service"),
            service.kind != ServiceType::ClusterIP,
            service.external_traffic_policy,
        ));
    }
    let policy = &spec.networking.network_policy;
    for (field, is_open, traffic) in from_outside {
        let hides = is_open && traffic == TrafficPolicy::Cluster;
        if hides && policy.enabled && !policy.client_cidrs.is_empty() {
            hints.push(format!(
                "spec.networking.networkPolicy.clientCidrs: with spec.roles.{field}.externalTrafficPolicy \
                 Cluster, many networks show the address of a node instead of the client's: clients are \
                 refused, or all let in; Local keeps it"
            ));
        }
    }
    hints.extend(without_https(spec));
    let push = spec.roles.optional(Role::PUSH);
    if push.is_some_and(|said| !said.push.has_provider()) {
        let hint = "spec.roles.push: nobody is told, since no provider is configured: set webhook, apns or fcm";
        hints.push(hint.to_owned());
    }
    hints
}

/// An API whose tokens nobody can show it.
fn without_https(spec: &ImClusterSpec) -> Option<String> {
    let said = spec.roles.optional(Role::HTTP_API)?;
    let names_proxies = said.common.config.contains_key("http_api.trusted_proxies");
    let takes_none = said.tls.secret_name.is_empty() && !names_proxies;
    takes_none.then(|| {
        "spec.roles.httpApi: tokens are refused over plain HTTP: set tls.secretName, or name the proxies that end TLS \
         in config[http_api.trusted_proxies]"
            .to_owned()
    })
}
