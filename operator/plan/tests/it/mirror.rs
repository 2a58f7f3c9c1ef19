//! The mirror.

use im_operator_plan::Resolved;
use im_operator_plan::mirror::{self, Mirrored, Steps};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::support::{owner, resolve};

fn server(n: usize, load: Option<u32>) -> Mirrored {
    Mirrored {
        pod: format!("demo-msg-{n:04}"),
        uid: format!("u{n}"),
        ips: vec![format!("10.1.{}.{}", n / 250, n % 250)],
        node: Some("node-a".to_owned()),
        ready: true,
        endpoint: Some("msg.example.com:30100".to_owned()),
        load_percent: load,
    }
}

/// The slices of servers of which none is shown yet.
fn slices(cluster: &Resolved, servers: &[Mirrored]) -> Vec<EndpointSlice> {
    mirror::slices(cluster, &owner(), servers, &Steps::new())
}

#[test]
fn slices_are_for_readers_and_not_for_kube_proxy() {
    let cluster = resolve(json!({}));
    let built = slices(&cluster, &[server(1, Some(67)), server(0, None)]);
    assert_eq!(built.len(), 1);
    let labels = built[0].metadata.labels.as_ref().unwrap();
    assert_eq!(labels["kubernetes.io/service-name"], "demo-msg-public");
    assert_eq!(
        labels["endpointslice.kubernetes.io/managed-by"],
        "imcluster-operator"
    );
    assert_eq!(labels["service.kubernetes.io/headless"], "");
    let text = &built[0].metadata.annotations.as_ref().unwrap()["imcluster.io/load"];
    let load: Value = serde_json::from_str(text).unwrap();
    assert_eq!(
        load["u1"],
        json!({"host": "msg.example.com", "port": 30100, "b": 6})
    );
    assert_eq!(
        load["u0"],
        json!({"host": "msg.example.com", "port": 30100})
    );
}

#[test]
fn load_within_a_step_changes_nothing_and_order_does_not_matter() {
    let cluster = resolve(json!({}));
    let one = slices(&cluster, &[server(0, Some(61)), server(1, Some(2))]);
    let two = slices(&cluster, &[server(1, Some(9)), server(0, Some(69))]);
    assert_eq!(one, two);
    let three = slices(&cluster, &[server(1, Some(10)), server(0, Some(69))]);
    assert_ne!(one, three);
}

#[test]
fn a_slice_has_a_hundred_servers_at_most() {
    let cluster = resolve(json!({}));
    let servers: Vec<_> = (0..250).map(|n| server(n, None)).collect();
    let built = slices(&cluster, &servers);
    let sizes: Vec<_> = built.iter().map(|slice| slice.endpoints.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(built[2].metadata.name.as_deref(), Some("demo-msg-public-2"));
    assert!(slices(&cluster, &[]).is_empty());
}

#[test]
fn load_that_walks_at_a_boundary_is_written_once_at_most() {
    let cluster = resolve(json!({"load": {"mirrorBucketPercent": 10}}));
    let mut shown = Steps::new();
    let mut writes = 0;
    let mut old = Vec::new();
    for read in 0..1_000 {
        // 59, 60, 61, 60, 59…: the boundary is at 60.
        let load = [59, 60, 61, 60][read % 4];
        let servers = [server(0, Some(load))];
        let new = mirror::slices(&cluster, &owner(), &servers, &shown);
        shown = mirror::steps(&cluster, &servers, &shown);
        writes += usize::from(read > 0 && new != old);
        old = new;
    }
    assert!(writes <= 1, "{writes} writes");
}

#[test]
fn a_step_is_left_by_half_a_step() {
    let cluster = resolve(json!({"load": {"mirrorBucketPercent": 10}}));
    let shown = Steps::from([("u0".to_owned(), 6)]);
    for (load, step) in [
        (54, 5),
        (55, 6),
        (60, 6),
        (74, 6),
        (75, 7),
        (0, 0),
        (120, 12),
    ] {
        let steps = mirror::steps(&cluster, &[server(0, Some(load))], &shown);
        assert_eq!(steps["u0"], step, "{load} %");
    }
    let unknown = mirror::steps(&cluster, &[server(0, None)], &shown);
    assert_eq!(unknown, Steps::new());
}

#[test]
fn addresses_of_both_families_are_mirrored() {
    let cluster = resolve(json!({}));
    let mut both = server(0, None);
    both.ips.push("fd00::1".to_owned());
    let mut ipv6 = server(1, None);
    ipv6.ips = vec!["fd00::2".to_owned()];
    let built = slices(&cluster, &[both, ipv6, server(2, None)]);
    let found: Vec<_> = built
        .iter()
        .map(|slice| {
            let addresses = slice.endpoints.iter().map(|it| it.addresses.join(","));
            let name = slice.metadata.name.clone().unwrap();
            (
                name,
                slice.address_type.as_str(),
                addresses.collect::<Vec<_>>().join(" "),
            )
        })
        .collect();
    let expected = [
        ("demo-msg-public-0", "IPv4", "10.1.0.0 10.1.0.2"),
        ("demo-msg-public-ipv6-0", "IPv6", "fd00::1 fd00::2"),
    ];
    let expected = expected.map(|(name, family, list)| (name.to_owned(), family, list.to_owned()));
    assert_eq!(found, expected);
}
