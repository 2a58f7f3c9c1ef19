//! Devices and test notices: what succeeds, and what an idempotency key does not allow.

use super::*;
use crate::push::provider::{By, OK, Provider, Reply};
use crate::push::webhook::settings;
use crate::push::{ios_token, register};

pub(super) async fn done(seen: &Seen, platform: &mut Platform, api: SocketAddr, token: &str) {
    let none = Value::Null;
    let call = async |path: &str, method: &str, with: &str, status: u16| {
        let (path, with) = (format!("/api/v1{path}"), format!("/api/v1{with}"));
        let answer = seen
            .call(&path, (method, &with, none.clone()), token, api, status)
            .await;
        serde_json::from_slice::<Value>(&answer.body).unwrap_or_default()
    };
    let provider = Provider::start(By::Tcp).await;
    let dir = tempfile::tempdir().unwrap();
    let routes = ["route1".to_owned()];
    let set = settings(&provider, dir.path());
    platform.start_push("push-devices", &routes, &set).unwrap();
    platform.ready("push-devices").await.unwrap();
    register(platform, "msg1", 3, Ios, &ios_token(3)).await;
    let all = "/users/{name}/push-targets";
    let listed = call(all, "GET", "/users/u3/push-targets", 200).await;
    let id = listed["items"][0]["id"].as_str().unwrap().to_owned();
    let (one, with) = (
        format!("{all}/{{id}}"),
        format!("/users/u3/push-targets/{id}"),
    );
    let (test, tested) = (format!("{one}:test"), format!("{with}:test"));
    call(&test, "POST", &tested, 200).await;

    provider.always(Reply::Hang);
    let path = format!("/api/v1{tested}");
    let keyed = Call::new("POST", &path).token(token).key("a-test");
    let (first, to) = (keyed.clone(), api);
    let first = tokio::spawn(async move { first.send(to).await });
    provider.requests(2).await;
    let answer = keyed.expect(api, 409).await;
    assert_eq!(problem(&answer), "key-in-flight");
    seen.note("POST", &format!("/api/v1{test}"), 409);
    first.await.unwrap();
    provider.always(OK);
    // It is kept with its answer, although nobody waited for that.
    let kept = im_e2e::wait::until("the answer is kept", WAIT, || async {
        let answer = keyed.send(api).await;
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(kept.await.unwrap().json()["verdict"]["outcome"], "not-now");
    let other = path.replace("/u3/", "/u2/");
    let other = Call::new("POST", &other).token(token).key("a-test");
    assert_eq!(problem(&other.expect(api, 422).await), "key-reused");
    seen.note("POST", &format!("/api/v1{test}"), 422);
    call(&one, "DELETE", &with, 200).await;
    // Deliveries are made by the next one.
    platform.process("push-devices").unwrap().kill9().unwrap();
}
