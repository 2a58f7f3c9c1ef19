use super::*;
use serde_json::json;

fn failure(statuses: serde_json::Value) -> Option<Failure> {
    let text = json!({"metadata": {}, "status": {"containerStatuses": statuses}});
    let Detail::Pod(view) = pod(serde_json::from_value(text).unwrap()) else {
        panic!("a pod")
    };
    view.failure
}

fn container(state: serde_json::Value, restarts: i32) -> serde_json::Value {
    json!([{"name": "msg", "image": "imd:9", "imageID": "", "ready": false,
        "restartCount": restarts, "state": state,
        "lastState": {"terminated": {"exitCode": 64, "reason": "Error"}}}])
}

#[test]
fn a_crash_loop_has_the_same_words_at_every_step() {
    let waiting = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}});
    let ended = json!({"terminated": {"exitCode": 64, "reason": "Error"}});
    for state in [waiting, ended, json!({"running": {}})] {
        let found = failure(container(state, 4)).unwrap();
        assert_eq!(found.reason, "CrashLoopBackOff");
        assert_eq!(found.message, "last end: Error, exit code 64");
    }
    assert_eq!(failure(container(json!({"running": {}}), 1)), None);
}

#[test]
fn a_missing_image_has_the_same_words_at_every_step() {
    for reason in ["ErrImagePull", "ImagePullBackOff"] {
        let waiting = json!({"waiting": {"reason": reason, "message": "it varies"}});
        let found = failure(container(waiting, 0)).unwrap();
        assert_eq!(found.reason, "ErrImagePull");
        assert_eq!(found.message, "image imd:9 cannot be pulled");
    }
}

#[test]
fn a_starting_container_has_not_failed() {
    let starting = json!([{"name": "msg", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": {"waiting": {"reason": "ContainerCreating"}}}]);
    assert_eq!(failure(starting), None);
}

#[test]
fn a_pod_has_the_addresses_of_both_families() {
    let ips = |status: serde_json::Value| {
        let text = json!({"metadata": {}, "status": status});
        let Detail::Pod(view) = pod(serde_json::from_value(text).unwrap()) else {
            panic!("a pod")
        };
        view.ips
    };
    let both = json!({"podIP": "fd00::1", "podIPs": [{"ip": "fd00::1"}, {"ip": "10.0.0.1"}]});
    assert_eq!(ips(both), ["fd00::1", "10.0.0.1"]);
    assert_eq!(ips(json!({"podIP": "10.0.0.1"})), ["10.0.0.1"]);
    assert_eq!(ips(json!({})), <[&str; 0]>::default());
}

#[test]
fn of_a_load_balancers_addresses_that_of_the_first_family_is_told() {
    let told = |families: &[&str], ingress: serde_json::Value| {
        let text = json!({"metadata": {}, "spec": {"ipFamilies": families},
            "status": {"loadBalancer": {"ingress": ingress}}});
        let Detail::Service(view) = service(serde_json::from_value(text).unwrap()) else {
            panic!("a Service")
        };
        view.ingress
    };
    let both = || json!([{"ip": "fd00::7"}, {"ip": "192.0.2.7"}]);
    let expect = |told: Option<String>, expected: &str| assert_eq!(told.as_deref(), Some(expected));
    expect(told(&["IPv4", "IPv6"], both()), "192.0.2.7");
    expect(told(&["IPv6", "IPv4"], both()), "fd00::7");
    expect(told(&[], both()), "fd00::7");
    expect(told(&["IPv4"], json!([{"ip": "fd00::7"}])), "fd00::7");
    let name = json!([{"hostname": "lb.example.com"}, {"ip": "192.0.2.7"}]);
    expect(told(&["IPv4"], name), "lb.example.com");
    assert_eq!(told(&["IPv4"], json!([])), None);
}
