//! Devices: listed, forgotten, and told of a test.

use std::time::Duration;

use im_config::units::Span;
use im_proto_rpc::v1::{
    PushOutcome, PushTargetRecord, PushTestRecord, PushVerdict, RemovePushTargetRequest,
    TestPushRequest,
};
use im_store::PushTarget;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

impl Rig {
    async fn device(&self, id: u32, token: &str) {
        let target = PushTarget {
            user: user(id),
            client_type: ClientType::Ios,
            token: token.to_owned(),
            session: 7,
        };
        self.admin.store.set_push_target(&target, 8).await.unwrap();
    }

    async fn devices(&self, name: &str) -> Vec<PushTargetRecord> {
        self.admin.devices_of(name).await.unwrap().targets
    }

    /// Stands in for push: says this of the next test notice.
    fn provider_says(&self, verdict: PushVerdict) -> tokio::task::JoinHandle<PushTarget> {
        let tests = self.admin.tests.clone();
        tokio::spawn(async move {
            loop {
                tests.asked(LIMIT).await;
                if let Some(test) = tests.take() {
                    tests.tell(test.id, verdict);
                    let told = test.target.unwrap();
                    return PushTarget {
                        user: user(told.user),
                        client_type: ClientType::from_wire(told.client_type).unwrap(),
                        token: told.token,
                        session: told.session,
                    };
                }
            }
        })
    }

    async fn test(&self, name: &str, id: &str) -> Result<PushTestRecord, super::super::AdminError> {
        let request = TestPushRequest {
            user: name.to_owned(),
            id: id.to_owned(),
            dry_run: false,
        };
        let tested = self.admin.test_device(request);
        tokio::time::timeout(LIMIT, tested).await.expect("an end")
    }
}

fn gone() -> PushVerdict {
    PushVerdict {
        provider: "apns".to_owned(),
        outcome: PushOutcome::DeviceGone.into(),
        status: 410,
        reason: "Unregistered".to_owned(),
    }
}

#[tokio::test]
async fn a_device_is_named_without_its_token_and_found_by_its_owner_only() {
    let rig = Rig::new().await;
    assert!(rig.devices("user1").await.is_empty());
    rig.device(1, "aa11").await;
    rig.device(1, "bb22").await;
    rig.device(2, "cc33").await;
    let devices = rig.devices("user1").await;
    assert_eq!(devices.len(), 2);
    for device in &devices {
        let is_hex = device.id.bytes().all(|it| it.is_ascii_hexdigit());
        assert!(device.id.len() == 16 && is_hex, "{device:?}");
        assert_eq!((device.client_type, device.session), (0x11, 7));
        assert!(!format!("{device:?}").contains("aa11"));
    }
    assert_ne!(devices[0].id, devices[1].id);
    let forget = |name: &str, dry_run| RemovePushTargetRequest {
        user: name.to_owned(),
        id: devices[0].id.clone(),
        dry_run,
    };
    let other = rig.admin.forget_device(forget("user2", false)).await;
    assert_eq!(code(other), Code::NotFound);
    let nobody = rig.admin.forget_device(forget("nobody", false)).await;
    assert_eq!(code(nobody), Code::NotFound);
    rig.admin
        .forget_device(forget("user1", true))
        .await
        .unwrap();
    assert_eq!(rig.devices("user1").await.len(), 2, "a dry run");
    rig.admin
        .forget_device(forget("user1", false))
        .await
        .unwrap();
    assert_eq!(rig.devices("user1").await, devices[1..]);
    let again = rig.admin.forget_device(forget("user1", false)).await;
    assert_eq!(code(again), Code::NotFound);
}

#[tokio::test]
async fn a_test_tells_what_the_provider_said_of_this_device() {
    let rig = Rig::new().await;
    rig.device(1, "aa11").await;
    let id = rig.devices("user1").await[0].id.clone();
    let told = rig.provider_says(gone());
    let tested = rig.test("user1", &id).await.unwrap();
    assert_eq!(tested.verdict, Some(gone()));
    assert_eq!(tested.target.unwrap().id, id);
    let told = told.await.unwrap();
    assert_eq!((told.user, told.token.as_str()), (user(1), "aa11"));
    assert_eq!(rig.devices("user1").await.len(), 1, "it changes nothing");

    let none = PushVerdict::default();
    let told = rig.provider_says(none);
    let refused = rig.test("user1", &id).await;
    assert_eq!(code(refused), Code::FailedPrecondition);
    told.await.unwrap();
    assert_eq!(code(rig.test("user2", &id).await), Code::NotFound);
}

#[tokio::test]
async fn without_a_push_server_a_test_ends_in_time_and_says_so() {
    let mut config = small_config();
    config.follow.test_timeout = Span::millis(100);
    let rig = Rig::with(config).await;
    rig.device(1, "aa11").await;
    let id = rig.devices("user1").await[0].id.clone();
    let status = Status::from(rig.test("user1", &id).await.unwrap_err());
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(status.metadata().get("im-reason").unwrap(), "no-push");
    assert!(status.message().contains("no push server"), "{status}");
    let dry = TestPushRequest {
        user: "user1".to_owned(),
        id: id.clone(),
        dry_run: true,
    };
    let dry = rig.admin.test_device(dry).await.unwrap();
    assert_eq!((dry.verdict, dry.target.unwrap().id), (None, id));
}
