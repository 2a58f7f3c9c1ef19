//! Devices that are told of messages: listed, forgotten, and told of a test.

use im_core::UserId;
use im_proto_rpc::v1::{
    PushOutcome, PushTarget, PushTargetList, PushTargetRecord, PushTestRecord, PushVerdict,
    RemovePushTargetRequest, TestPushRequest,
};
use im_store::Told;
use serde_json::json;

use super::notes::Changed;
use super::{AdminError, AdminService};

/// What ids of devices are made with: a token is a secret between a phone and its provider.
const PURPOSE: &str = "imcluster db-proxy ids of devices 2026-11";

impl AdminService {
    pub(super) async fn devices_of(&self, user: &str) -> Result<PushTargetList, AdminError> {
        let owner = self.person(user).await?;
        let told = self.store.push_targets(&[owner.id]).await?;
        Ok(PushTargetList {
            targets: told.iter().map(record).collect(),
        })
    }

    pub(super) async fn forget_device(
        &self,
        request: RemovePushTargetRequest,
    ) -> Result<PushTargetRecord, AdminError> {
        let RemovePushTargetRequest { user, id, dry_run } = request;
        let (_, told) = self.device(&user, &id).await?;
        let gone = record(&told);
        if dry_run {
            return Ok(gone);
        }
        let changed = Changed::of(target(&user, &id)).before(json!({ "client": gone.client_type }));
        let dropped = self.noting(changed);
        let dropped = dropped.drop_push_target(&told.target.token, told.target.session);
        if !dropped.await? {
            return Err(missing(&user, &id));
        }
        Ok(gone)
    }

    pub(super) async fn test_device(
        &self,
        request: TestPushRequest,
    ) -> Result<PushTestRecord, AdminError> {
        let (owner, told) = self.device(&request.user, &request.id).await?;
        let found = PushTestRecord {
            target: Some(record(&told)),
            verdict: None,
        };
        if request.dry_run {
            return Ok(found);
        }
        self.make_test(request, owner, told, found).await
    }

    async fn make_test(
        &self,
        request: TestPushRequest,
        owner: UserId,
        told: Told,
        found: PushTestRecord,
    ) -> Result<PushTestRecord, AdminError> {
        let wanted = PushTarget {
            user: owner.get(),
            client_type: told.target.client_type.to_wire(),
            token: told.target.token,
            session: told.target.session,
            night_shield: told.night_shield,
        };
        let verdict = self.tests.ask(wanted).await?;
        if verdict.outcome() == PushOutcome::NoProvider {
            return Err(AdminError::Refused(
                "no provider is configured for such a device".to_owned(),
            ));
        }
        let PushVerdict {
            provider,
            status,
            reason,
            ..
        } = &verdict;
        let said = json!({
            "provider": provider,
            "outcome": verdict.outcome().as_str_name(),
            "status": status,
            "reason": reason,
        });
        let answer = PushTestRecord {
            verdict: Some(verdict),
            ..found
        };
        let changed = Changed::of(target(&request.user, &request.id)).after(said);
        if let Some(note) = self.note(changed.answer(&answer)) {
            self.store.note(&note).await?;
        }
        Ok(answer)
    }

    /// A device of somebody, and its owner.
    async fn device(&self, user: &str, id: &str) -> Result<(UserId, Told), AdminError> {
        let owner = self.person(user).await?.id;
        let told = self.store.push_targets(&[owner]).await?;
        let found = told.into_iter().find(|told| id_of(told) == id);
        let found = found.ok_or_else(|| missing(user, id))?;
        Ok((owner, found))
    }
}

fn missing(user: &str, id: &str) -> AdminError {
    AdminError::NotFound(format!("user {user:?} has no device {id:?}"))
}

fn target(user: &str, id: &str) -> String {
    format!("device {id} of user {user}")
}

fn id_of(told: &Told) -> String {
    let mut hash = blake3::Hasher::new_derive_key(PURPOSE);
    hash.update(told.target.token.as_bytes());
    let hex = hash.finalize().to_hex();
    hex.get(..16).unwrap_or_default().to_owned()
}

fn record(told: &Told) -> PushTargetRecord {
    PushTargetRecord {
        id: id_of(told),
        client_type: told.target.client_type.to_wire(),
        session: told.target.session,
        night_shield: told.night_shield,
    }
}
