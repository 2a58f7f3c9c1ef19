//! The mirror.

use im_operator_plan::mirror::{Mirrored, slices};
use serde_json::{Value, json};

use crate::support::{owner, resolve};

fn server(n: usize, load: Option<u32>) -> Mirrored {
    Mirrored {
        pod: format!("demo-msg-{n:04}"),
        uid: format!("u{n}"),
        ip: format!("10.1.{}.{}", n / 250, n % 250),
        node: Some("node-a".to_owned()),
        ready: true,
        endpoint: Some("msg.example.com:30100".to_owned()),
        load_percent: load,
    }
}

#[test]
fn slices_are_for_readers_and_not_for_kube_proxy() {
    let cluster = resolve(json!({}));
    let built = slices(&cluster, &owner(), &[server(1, Some(67)), server(0, None)]);
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
    let one = slices(
        &cluster,
        &owner(),
        &[server(0, Some(61)), server(1, Some(2))],
    );
    let two = slices(
        &cluster,
        &owner(),
        &[server(1, Some(9)), server(0, Some(69))],
    );
    assert_eq!(one, two);
    let three = slices(
        &cluster,
        &owner(),
        &[server(1, Some(10)), server(0, Some(69))],
    );
    assert_ne!(one, three);
}

#[test]
fn a_slice_has_a_hundred_servers_at_most() {
    let cluster = resolve(json!({}));
    let servers: Vec<_> = (0..250).map(|n| server(n, None)).collect();
    let built = slices(&cluster, &owner(), &servers);
    let sizes: Vec<_> = built.iter().map(|slice| slice.endpoints.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(built[2].metadata.name.as_deref(), Some("demo-msg-public-2"));
    assert!(slices(&cluster, &owner(), &[]).is_empty());
}
