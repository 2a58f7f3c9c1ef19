//! Judges an ImCluster and fills in what it leaves open.
//!
//! The API server has judged most of it by the schema and its rules; here is what these cannot say.
//! All errors come at once, each with the field that it is about.

use std::collections::BTreeMap;
use std::net::IpAddr;

use im_operator_api::server_config::Keys;
use im_operator_api::{
    BlobsType, ClientService, DatabaseType, ExternalType, ImCluster, ImClusterSpec, KnownRoles,
    OptionalRole, Section, ServiceType, labels, server_config,
};
use im_role::{Reach, Service, Told};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::quantity::Quantity;
use crate::resolved::{Rendered, Resolved};
use crate::{Role, Settings, SpecError, config, database, filter, hints, pod, slots};

/// Judges an ImCluster and fills in what it leaves open, or says everything that is wrong.
///
/// # Errors
/// Everything that is wrong.
pub fn validate(cluster: &ImCluster, settings: &Settings) -> Result<Resolved, Vec<SpecError>> {
    validate_with(cluster, settings, KnownRoles::default())
}

/// The same, for these roles.
///
/// # Errors
/// Everything that is wrong.
pub fn validate_with(
    cluster: &ImCluster,
    settings: &Settings,
    known: KnownRoles,
) -> Result<Resolved, Vec<SpecError>> {
    let name = cluster.metadata.name.clone().unwrap_or_default();
    let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
    let mut spec = cluster.spec.clone();
    let mut errors = Vec::new();
    check_name(&name, &mut errors);
    check_version(cluster, &mut errors);
    check_replicas(&spec, &mut errors);
    check_network(&spec, &mut errors);
    check_storage(&spec, &mut errors);
    check_external(&spec, settings, &mut errors);
    check_filter(&spec, &mut errors);
    check_database(&spec, &mut errors);
    spec.roles.db_proxy.replicas.get_or_insert(1);
    let image = image(&spec, settings);
    let mut resolved = Resolved {
        paused: paused(cluster),
        name,
        namespace,
        spec,
        image,
        settings: settings.clone(),
        warnings: Vec::new(),
        hints: hints::of(&cluster.spec),
        known,
        rendered: BTreeMap::new(),
    };
    for role in resolved.roles() {
        let Some(section) = resolved.section(role) else {
            continue;
        };
        check_ports(&resolved, role, &section, &mut errors);
        check_resources(role, &section, &mut errors);
        if let Some(service) = section.service {
            check_service(role, service, &mut errors);
        }
        if let Some(said) = section.optional {
            let field = format!("spec.roles.{}.providerCidrs", role.field);
            check_cidrs(&field, &said.push.provider_cidrs, &mut errors);
            check_optional(&resolved.spec, role, said, &mut errors);
        }
        let template = pod::template(&resolved, role, &section);
        match (template, config::file(&resolved, role, &section)) {
            (Ok(template), Ok(file)) => {
                let rendered = Rendered {
                    template,
                    config: file.text,
                };
                resolved.rendered.insert(role, rendered);
                resolved.warnings.extend(file.warnings);
            }
            (template, config) => {
                errors.extend(template.err().into_iter().flatten());
                errors.extend(config.err().into_iter().flatten());
            }
        }
    }
    if errors.is_empty() {
        Ok(resolved)
    } else {
        Err(errors)
    }
}

fn paused(cluster: &ImCluster) -> bool {
    let annotations = cluster.metadata.annotations.as_ref();
    let annotation = annotations.and_then(|annotations| annotations.get(labels::PAUSED));
    cluster.spec.operation.paused || annotation.is_some_and(|paused| paused == "true")
}

fn image(spec: &ImClusterSpec, settings: &Settings) -> String {
    let repository = match spec.image.repository.as_str() {
        "" => &settings.image_repository,
        repository => repository,
    };
    match spec.image.digest.as_str() {
        "" => format!("{repository}:{}", spec.version),
        digest => format!("{repository}@{digest}"),
    }
}

fn check_name(name: &str, errors: &mut Vec<SpecError>) {
    let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let good = name.len() <= 40
        && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && !name.ends_with('-')
        && name.bytes().all(inside);
    if !good {
        let rule =
            "must have at most 40 lower-case letters, digits and dashes, and start with a letter";
        errors.push(SpecError::new("metadata.name", rule));
    }
}

/// Stored data may be of a later minor version than an earlier one can read.
fn check_version(cluster: &ImCluster, errors: &mut Vec<SpecError>) {
    let version = &cluster.spec.version;
    let Some(wanted) = minor(version) else {
        errors.push(SpecError::new("spec.version", "must be MAJOR.MINOR.PATCH"));
        return;
    };
    let runs = cluster
        .status
        .as_ref()
        .and_then(|status| status.version.as_deref());
    if let Some(runs) = runs
        && minor(runs).is_some_and(|present| wanted < present)
    {
        let message = format!("cannot go back from {runs} to {version}: only patch versions can");
        errors.push(SpecError::new("spec.version", message));
    }
}

fn minor(version: &str) -> Option<(u64, u64)> {
    let [major, minor, _] = server_config::release(version)?;
    Some((major, minor))
}

fn check_replicas(spec: &ImClusterSpec, errors: &mut Vec<SpecError>) {
    let replicas = spec.roles.db_proxy.replicas.unwrap_or(1);
    if spec.database.kind == DatabaseType::Embedded && replicas != 1 {
        let message = format!("must be 1 with the embedded database, is {replicas}");
        errors.push(SpecError::new("spec.roles.dbProxy.replicas", message));
    }
}

fn check_network(spec: &ImClusterSpec, errors: &mut Vec<SpecError>) {
    let policy = &spec.networking.network_policy;
    check_cidrs(
        "spec.networking.networkPolicy.clientCidrs",
        &policy.client_cidrs,
        errors,
    );
    let balancer = spec.roles.msg.external.load_balancer.as_ref();
    let ranges = balancer.map_or(&[][..], |balancer| &balancer.source_ranges);
    check_cidrs(
        "spec.roles.msg.external.loadBalancer.sourceRanges",
        ranges,
        errors,
    );
    let field = "spec.networking.networkPolicy.monitoringNamespaceSelector";
    check_selector(field, &policy.monitoring_namespace_selector, errors);
    for (n, rule) in policy.extra_egress.iter().enumerate() {
        let field = format!("spec.networking.networkPolicy.extraEgress[{n}]");
        for (m, peer) in rule.to.iter().flatten().enumerate() {
            let field = format!("{field}.to[{m}]");
            let selectors = [
                ("podSelector", &peer.pod_selector),
                ("namespaceSelector", &peer.namespace_selector),
            ];
            for (name, selector) in selectors {
                if let Some(selector) = selector {
                    check_selector(&format!("{field}.{name}"), selector, errors);
                }
            }
            if let Some(block) = &peer.ip_block {
                let field = format!("{field}.ipBlock.cidr");
                check_cidr(&field, &block.cidr, errors);
            }
        }
    }
}

fn check_storage(spec: &ImClusterSpec, errors: &mut Vec<SpecError>) {
    if let Some(bucket) = &spec.storage.blobs.s3 {
        check_cidrs("spec.storage.blobs.s3.cidrs", &bucket.cidrs, errors);
    }
}

fn check_filter(spec: &ImClusterSpec, errors: &mut Vec<SpecError>) {
    let Some(filter) = &spec.roles.db_proxy.filter else {
        return;
    };
    check_cidrs(&format!("{}.cidrs", filter::FIELD), &filter.cidrs, errors);
    if Keys::of(&spec.version) == Keys::Before {
        let message = format!("servers of version {} ask no filter", spec.version);
        errors.push(SpecError::new(filter::FIELD, message));
    }
}

fn check_database(spec: &ImClusterSpec, errors: &mut Vec<SpecError>) {
    let Some(mysql) = spec.database.mysql() else {
        return;
    };
    check_cidrs(&format!("{}.cidrs", database::FIELD), &mysql.cidrs, errors);
    if Keys::of(&spec.version) == Keys::Before {
        let message = format!("servers of version {} know no such database", spec.version);
        errors.push(SpecError::new(database::FIELD, message));
    }
}

fn check_cidrs(field: &str, cidrs: &[String], errors: &mut Vec<SpecError>) {
    for (n, cidr) in cidrs.iter().enumerate() {
        check_cidr(&format!("{field}[{n}]"), cidr, errors);
    }
}

fn check_cidr(field: &str, cidr: &str, errors: &mut Vec<SpecError>) {
    if !is_cidr(cidr) {
        let message = format!("must be an address range such as 10.0.0.0/8, is {cidr:?}");
        errors.push(SpecError::new(field, message));
    }
}

/// Whether a text is an address range such as `10.0.0.0/8` or `fd00::/8`.
pub fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(address, bits)| {
        let most = match address.parse() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        bits.parse::<u8>().is_ok_and(|bits| bits <= most)
    })
}

fn check_selector(field: &str, selector: &LabelSelector, errors: &mut Vec<SpecError>) {
    for (n, term) in selector.match_expressions.iter().flatten().enumerate() {
        let field = format!("{field}.matchExpressions[{n}]");
        let has_values = term
            .values
            .as_ref()
            .is_some_and(|values| !values.is_empty());
        let rule = match term.operator.as_str() {
            "In" | "NotIn" if !has_values => "needs values",
            "Exists" | "DoesNotExist" if has_values => "takes no values",
            "In" | "NotIn" | "Exists" | "DoesNotExist" => continue,
            _ => "operator must be In, NotIn, Exists or DoesNotExist",
        };
        errors.push(SpecError::new(&field, rule));
    }
}

fn check_ports(cluster: &Resolved, role: Role, section: &Section<'_>, errors: &mut Vec<SpecError>) {
    let metrics = cluster.spec.observability.metrics.port;
    let mut seen = vec![("metrics", metrics)];
    for listener in role.listeners {
        if listener.reach == Reach::Administrators {
            let port = i32::from(listener.port);
            if metrics == port {
                let message = format!("{port} is the administrators' port of {} pods", role.field);
                errors.push(SpecError::new("spec.observability.metrics.port", message));
            }
            seen.push(("administrators'", port));
        }
    }
    for listener in role.ports() {
        let (name, port) = (listener.name, section.port(listener));
        if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == port) {
            let field = format!("spec.roles.{}.ports.{}", role.field, listener.field);
            let message = format!("{port} is the {other} port of the same pods");
            errors.push(SpecError::new(&field, message));
        }
        seen.push((name, port));
    }
}

fn check_service(role: Role, service: &ClientService, errors: &mut Vec<SpecError>) {
    let field = |name: &str| format!("spec.roles.{}.service.{name}", role.field);
    let ranges = field("sourceRanges");
    check_cidrs(&ranges, &service.source_ranges, errors);
    if service.kind != ServiceType::LoadBalancer && !service.source_ranges.is_empty() {
        errors.push(SpecError::new(&ranges, "needs service type LoadBalancer"));
    }
    let front = || role.ports().filter(|it| it.service == Service::Front);
    for name in service.node_ports.keys() {
        if front().all(|listener| listener.name != name) {
            let known: Vec<_> = front().map(|listener| listener.name).collect();
            let field = field(&format!("nodePorts[{name}]"));
            let message = format!("is no port of the Service: it has {}", known.join(", "));
            errors.push(SpecError::new(&field, message));
        }
    }
}

/// What is wrong with an optional role, aside from what every role has.
fn check_optional(
    spec: &ImClusterSpec,
    role: Role,
    said: &OptionalRole,
    errors: &mut Vec<SpecError>,
) {
    let field = format!("spec.roles.{}", role.field);
    let mut wrong = |name: &str, message: &str| {
        errors.push(SpecError::new(&format!("{field}{name}"), message));
    };
    if Keys::of(&spec.version) == Keys::Before {
        let message = format!("servers of version {} have no such role", spec.version);
        wrong("", &message);
    }
    if said.replicas.is_some_and(|replicas| replicas > 1) {
        let has_volume = spec.storage.blobs.kind == BlobsType::Volume && role.kubernetes.blobs;
        if role == Role::FILE {
            wrong(
                ".replicas",
                "must be 1 at most: a transfer belongs to the server that began it",
            );
        } else if has_volume {
            let message =
                "must be 1 at most with storage.blobs.type Volume: one pod has the volume";
            wrong(".replicas", message);
        }
    }
    if said.service.kind == ServiceType::ClusterIP {
        return;
    }
    match role.kubernetes.told {
        Told::Nothing => {}
        Told::Url if !said.public_url.is_empty() => {}
        Told::Url => wrong(
            ".publicUrl",
            "is needed where clients come from outside: they are told it",
        ),
        Told::Address => {
            if said.external.host.is_empty() {
                let message = "is needed where clients come from outside: they are told it";
                wrong(".external.host", message);
            }
            let mut fronts = role.ports().filter(|it| it.service == Service::Front);
            let port_is_known = said.external.advertised_port != 0
                || fronts.any(|it| said.service.node_ports.contains_key(it.name));
            if said.service.kind == ServiceType::NodePort && !port_is_known {
                let message = "is needed for type NodePort: clients are told it";
                wrong(".service.nodePorts", message);
            }
        }
    }
}

fn check_external(spec: &ImClusterSpec, settings: &Settings, errors: &mut Vec<SpecError>) {
    let external = &spec.roles.msg.external;
    let mut wrong = |name: &str, message: String| {
        errors.push(SpecError::new(
            &format!("spec.roles.msg.external.{name}"),
            message,
        ));
    };
    let template = &external.host_template;
    let annotations = external.annotations.iter();
    let texts = annotations
        .map(|(key, text)| (format!("annotations[{key}]"), text))
        .chain([("hostTemplate".to_owned(), template)]);
    for (name, text) in texts {
        let mut rest = text.clone();
        for placeholder in slots::PLACEHOLDERS {
            rest = rest.replace(placeholder, "");
        }
        if rest.contains(['{', '}']) {
            let known = slots::PLACEHOLDERS.join(", ");
            wrong(
                &name,
                format!("has a placeholder other than {known}: {text:?}"),
            );
        }
    }
    let per_slot = template.contains("{slot}");
    let msg = &spec.roles.msg;
    let slots = msg.replicas.saturating_add(msg.update.max_surge);
    match external.kind {
        ExternalType::None => {}
        ExternalType::NodePort => {
            if template.is_empty() && !settings.node_access {
                let message = "is needed for type NodePort: this operator may not read the addresses of nodes";
                wrong("hostTemplate", message.to_owned());
            }
            let base = external.node_port.clone().unwrap_or_default().base_port;
            if base > 0 && base.saturating_add(slots) > 65_536 {
                let message = format!("leaves no ports for {slots} slots");
                wrong("nodePort.basePort", message);
            }
            if external.advertised_port != 0 && !per_slot {
                let message =
                    "needs {slot} in hostTemplate: each slot must have an address of its own";
                wrong("advertisedPort", message.to_owned());
            }
        }
        ExternalType::LoadBalancer => {
            let base = external.load_balancer.clone().unwrap_or_default().base_port;
            if !template.is_empty() && !per_slot && base == 0 {
                let message = "must contain {slot}: each slot has a load balancer of its own";
                wrong("hostTemplate", message.to_owned());
            }
            if base > 0 && base.saturating_add(slots) > 65_536 {
                let message = format!("{base} leaves no ports for {slots} slots");
                wrong("loadBalancer.basePort", message);
            }
            if base > 0 && external.advertised_port != 0 {
                let message =
                    "cannot be set with loadBalancer.basePort: each slot has a port of its own";
                wrong("advertisedPort", message.to_owned());
            }
        }
    }
}

fn check_resources(role: Role, section: &Section<'_>, errors: &mut Vec<SpecError>) {
    let resources = pod::resources(role, section);
    for (name, request) in &resources.requests {
        let Some(limit) = resources.limits.get(name) else {
            continue;
        };
        let (Some(least), Some(most)) = (Quantity::parse(request), Quantity::parse(limit)) else {
            continue;
        };
        if least > most {
            let field = format!("spec.roles.{}.resources.requests[{name}]", role.field);
            let message = format!("{request} is more than the limit {limit}");
            errors.push(SpecError::new(&field, message));
        }
    }
    for (kind, amounts) in [
        ("requests", &resources.requests),
        ("limits", &resources.limits),
    ] {
        for (name, amount) in amounts {
            if Quantity::parse(amount).is_none() {
                let field = format!("spec.roles.{}.resources.{kind}[{name}]", role.field);
                let message = format!("must be an amount such as 100m or 1Gi, is {amount:?}");
                errors.push(SpecError::new(&field, message));
            }
        }
    }
    let scheduling = &section.common.scheduling;
    for (n, constraint) in scheduling.topology_spread_constraints.iter().enumerate() {
        let field = format!(
            "spec.roles.{}.scheduling.topologySpreadConstraints[{n}]",
            role.field
        );
        if constraint.max_skew < 1 {
            errors.push(SpecError::new(
                &format!("{field}.maxSkew"),
                "must be at least 1",
            ));
        }
        if !["DoNotSchedule", "ScheduleAnyway"].contains(&constraint.when_unsatisfiable.as_str()) {
            let message = "must be DoNotSchedule or ScheduleAnyway";
            errors.push(SpecError::new(
                &format!("{field}.whenUnsatisfiable"),
                message,
            ));
        }
    }
}
