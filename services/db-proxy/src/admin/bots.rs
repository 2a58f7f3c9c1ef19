//! Bots: made, listed, changed, removed, given another token; and the calls about them, of a service of their own.

use im_accounts::ACTIVE;
use im_core::time::UnixSeconds;
use im_proto_rpc::v1::bots_server::Bots;
use im_proto_rpc::v1::{
    BotList, BotRecord, CreateBotRequest, CreatedBot, CreatedToken, DirectoryRow, GetBotRequest,
    ListBotsRequest, ReadUpdatesRequest, RemoveBotRequest, ReplaceBotTokenRequest, TokenRecord,
    UpdateBotRequest, UpdateList,
};
use im_store::{
    AccountKind, BotBounds, BotShown, ImportedUser, MemberChange, NewBot, NewToken, TokenRow,
    UserProfile,
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use super::caller::MAX_NAME;
use super::cursor::{List, Listed};
use super::notes::{Changed, cut};
use super::pages::{Limits, Page};
use super::people::LEFT;
use super::records::path;
use super::rows::Rows;
use super::tokens::{self, addresses, secret};
use super::{AdminError, AdminService};

/// Bots in one answer: the default, and the most.
const LIMITS: Limits = Limits {
    default: 100,
    most: 1_000,
};

/// What a bot's token allows, and no other one.
const SCOPE: &str = "bot";

/// Longest time for which a bot has two tokens, seconds.
const MAX_OVERLAP: u32 = 7 * 86_400;

impl AdminService {
    async fn make_bot(&self, request: CreateBotRequest) -> Result<CreatedBot, AdminError> {
        let judged = self.judge_bot(DirectoryRow {
            name: request.name,
            nick: Some(request.nick),
            department: Some(request.department.clone()),
            avatar: Some(request.avatar),
            signature: Some(request.signature),
            ..DirectoryRow::default()
        })?;
        let secret = secret();
        let token = self.bot_token(
            &judged.name,
            &secret,
            request.token_seconds,
            &request.token_addresses,
        )?;
        let department = self.department_of(&request.department).await?;
        let _changing = self.changing.lock().await;
        self.free_name(&judged.name).await?;
        let bot = NewBot {
            shown: BotShown {
                nick: judged.nick.unwrap_or_else(|| judged.name.clone()),
                department,
                avatar: judged.avatar.unwrap_or_default(),
                signature: judged.signature.unwrap_or_default(),
            },
            name: judged.name,
        };
        let would_be = BotRecord {
            id: 0,
            name: bot.name.clone(),
            nick: bot.shown.nick.clone(),
            department: request.department.trim().to_owned(),
            department_id: department,
            avatar: bot.shown.avatar.clone(),
            signature: bot.shown.signature.clone(),
            active: true,
        };
        let answer = CreatedBot {
            bot: Some(would_be.clone()),
            secret: String::new(),
            expires: token.expires.get(),
        };
        if request.dry_run {
            return Ok(answer);
        }
        let changed = Changed::of(target(&bot.name))
            .after(json!({
                "nick": would_be.nick,
                "department": would_be.department,
                "avatar": would_be.avatar,
                "signature": would_be.signature,
                "token_addresses": token.addresses,
                "token_expires": token.expires.get(),
            }))
            .answer(&answer);
        let store = self.noting(changed);
        let now = UnixSeconds::now();
        let made = store.create_bot(&bot, &token, self.bot_bounds(now), now);
        let made = made.await?;
        Ok(CreatedBot {
            bot: Some(BotRecord {
                id: made.user.get(),
                ..would_be
            }),
            secret: format!("imt_{}_{secret}", made.token),
            ..answer
        })
    }

    async fn list_all_bots(&self, request: ListBotsRequest) -> Result<BotList, AdminError> {
        let limit = LIMITS.of(request.limit);
        let listed = Listed {
            list: List::Bots,
            filters: &[],
        };
        let after = self.cursors.read_at(listed, &request.cursor)?;
        let after = after.unwrap_or_default();
        let found = self.store.bots(&after, limit + 1).await?;
        let departments = self.departments().await?;
        let mut page = Page::new(limit);
        for (place, bot) in (0..).zip(found) {
            if !page.takes(place, record(bot, &departments)) {
                break;
            }
        }
        let (bots, is_cut) = page.into_rows();
        let next = match bots.last() {
            Some(last) if is_cut => self.cursors.make_at(listed, &last.name),
            _ => String::new(),
        };
        Ok(BotList { bots, next })
    }

    async fn one_bot(&self, request: GetBotRequest) -> Result<BotRecord, AdminError> {
        let bot = self.bot(&request.name).await?;
        Ok(record(bot, &self.departments().await?))
    }

    async fn update_bot_of(&self, request: UpdateBotRequest) -> Result<BotRecord, AdminError> {
        // Nobody removes it meanwhile.
        let _changing = self.changing.lock().await;
        let old = self.bot(&request.name).await?;
        let status = match request.active {
            None => old.status,
            Some(true) => ACTIVE,
            Some(false) => LEFT,
        };
        let dry_run = request.dry_run;
        let shown = self.shown(&old, request).await?;
        let departments = self.departments().await?;
        let new = UserProfile {
            nick: shown.nick.clone(),
            department: shown.department,
            avatar: shown.avatar.clone(),
            signature: shown.signature.clone(),
            status,
            ..old.clone()
        };
        let user = old.id;
        let (was, is) = (record(old, &departments), record(new, &departments));
        if dry_run {
            return Ok(was);
        }
        let changed = Changed::of(target(&was.name))
            .before(seen(&was))
            .after(seen(&is))
            .answer(&is);
        let store = self.noting(changed);
        let now = UnixSeconds::now();
        store.change_bot(user, &shown, status, now).await?;
        if status != ACTIVE {
            self.publisher.bells().ring(user);
        }
        Ok(is)
    }

    /// What is shown of a bot once the request is done. Empty texts empty a field.
    async fn shown(
        &self,
        old: &UserProfile,
        request: UpdateBotRequest,
    ) -> Result<BotShown, AdminError> {
        let is_empty = |field: &Option<String>| {
            let text = field.as_deref();
            text.is_some_and(|text| text.trim().is_empty())
        };
        if is_empty(&request.nick) {
            return Err(AdminError::Invalid("the nick is empty".to_owned()));
        }
        let department = match &request.department {
            None => old.department,
            Some(path) => self.department_of(path).await?,
        };
        let (no_avatar, no_signature) = (is_empty(&request.avatar), is_empty(&request.signature));
        let judged = self.judge_bot(DirectoryRow {
            name: old.name.clone(),
            nick: request.nick,
            department: request.department,
            avatar: request.avatar,
            signature: request.signature,
            ..DirectoryRow::default()
        })?;
        let text = |new: Option<String>, is_emptied: bool, old: &String| {
            let old = || {
                if is_emptied {
                    String::new()
                } else {
                    old.clone()
                }
            };
            new.unwrap_or_else(old)
        };
        Ok(BotShown {
            nick: text(judged.nick, false, &old.nick),
            department,
            avatar: text(judged.avatar, no_avatar, &old.avatar),
            signature: text(judged.signature, no_signature, &old.signature),
        })
    }

    async fn end_bot(&self, request: RemoveBotRequest) -> Result<BotRecord, AdminError> {
        let bot = self.bot(&request.name).await?;
        let (user, name) = (bot.id, bot.name.clone());
        let was = record(bot, &self.departments().await?);
        if request.dry_run {
            return Ok(was);
        }
        self.leave_groups(user, &name).await?;
        let _changing = self.changing.lock().await;
        let changed = Changed::of(target(&name)).before(seen(&was)).answer(&was);
        let store = self.noting(changed);
        let gone = format!("{name}#{user}");
        store.remove_bot(user, &gone, UnixSeconds::now()).await?;
        self.publisher.bells().ring(user);
        Ok(was)
    }

    async fn another_token(
        &self,
        request: ReplaceBotTokenRequest,
    ) -> Result<CreatedToken, AdminError> {
        if request.overlap > MAX_OVERLAP {
            return Err(AdminError::Invalid(format!(
                "a bot has two tokens for at most {MAX_OVERLAP} s, not {}",
                request.overlap
            )));
        }
        let bot = self.bot(&request.name).await?;
        if bot.status != ACTIVE {
            return Err(AdminError::Refused(format!("{:?} is not active", bot.name)));
        }
        let secret = secret();
        let token = self.bot_token(&bot.name, &secret, request.seconds, &request.addresses)?;
        let would_be = tokens::record(TokenRow {
            id: 0,
            token: NewToken {
                bot: Some(bot.id),
                ..token.clone()
            },
            revoked: None,
            used: None,
        });
        let answer = CreatedToken {
            token: Some(would_be.clone()),
            secret: String::new(),
        };
        if request.dry_run {
            return Ok(answer);
        }
        let until = token.created.saturating_add(request.overlap);
        let changed = Changed::of(target(&bot.name))
            .after(json!({
                "token": "another",
                "expires": token.expires.get(),
                "addresses": token.addresses,
                "former_until": until.get(),
            }))
            .answer(&answer);
        let store = self.noting(changed);
        let bounds = self.bot_bounds(token.created);
        let id = store.replace_bot_token(bot.id, &token, until, bounds);
        let id = id.await?;
        self.publisher.bells().ring(bot.id);
        Ok(CreatedToken {
            token: Some(TokenRecord { id, ..would_be }),
            secret: format!("imt_{id}_{secret}"),
        })
    }

    /// The bot of a name: exactly this one, or as names compare.
    async fn bot(&self, name: &str) -> Result<UserProfile, AdminError> {
        let missing = || AdminError::NotFound(format!("there is no bot {name:?}"));
        let found = match self.account(name).await {
            Err(AdminError::NotFound(_)) => return Err(missing()),
            found => found?,
        };
        Some(found)
            .filter(|found| found.kind == AccountKind::Bot)
            .ok_or_else(missing)
    }

    /// Judges what is to be known of a bot, as a line of a file is judged.
    fn judge_bot(&self, row: DirectoryRow) -> Result<ImportedUser, AdminError> {
        let mut rows = Rows::new(&self.config.accounts, &self.config.answers);
        rows.push(row);
        if let Some(error) = rows.errors.first() {
            return Err(AdminError::Invalid(error.message.clone()));
        }
        let line = rows.lines.pop().map(|line| line.user);
        line.ok_or_else(|| AdminError::Invalid("the bot is missing".to_owned()))
    }

    /// The department of a path; 0 for none.
    async fn department_of(&self, path: &str) -> Result<u32, AdminError> {
        match path.trim() {
            "" => Ok(0),
            path => self.tree().await?.find(path),
        }
    }

    fn bot_token(
        &self,
        name: &str,
        secret: &str,
        seconds: u32,
        from: &[String],
    ) -> Result<NewToken, AdminError> {
        let created = UnixSeconds::now();
        let seconds = self.token_seconds(seconds)?;
        let made_by = self.call.as_ref().map(|call| call.caller.actor.clone());
        Ok(NewToken {
            hash: blake3::hash(secret.as_bytes()).into(),
            // Who does what it does.
            owner: cut(&target(name), MAX_NAME),
            label: String::new(),
            scopes: vec![SCOPE.to_owned()],
            addresses: addresses(from)?,
            created,
            expires: created.saturating_add(seconds),
            made_by: made_by.unwrap_or_default(),
            bot: None,
        })
    }

    fn bot_bounds(&self, now: UnixSeconds) -> BotBounds {
        let bounds = &self.config.administration;
        BotBounds {
            bots: bounds.bots,
            tokens: bounds.tokens,
            tokens_since: tokens::listed_since(now),
        }
    }
}

impl AdminService {
    /// Takes an account out of its groups, one transaction each; which they were.
    pub(super) async fn leave_groups(
        &self,
        user: im_core::UserId,
        name: &str,
    ) -> Result<(), AdminError> {
        for group in self.store.groups_of(Some(user)).await? {
            let changed =
                Changed::of(format!("group {}", group.id)).after(json!({ "removed": [name] }));
            self.change(group.id, MemberChange::Remove, vec![user], changed)
                .await?;
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Bots for AdminService {
    async fn create_bot(
        &self,
        request: Request<CreateBotRequest>,
    ) -> Result<Response<CreatedBot>, Status> {
        let work = |admin: Self, it| async move { admin.make_bot(it).await };
        self.administer(request, work).await
    }

    async fn get_bot(
        &self,
        request: Request<GetBotRequest>,
    ) -> Result<Response<BotRecord>, Status> {
        Ok(Response::new(self.one_bot(request.into_inner()).await?))
    }

    async fn list_bots(
        &self,
        request: Request<ListBotsRequest>,
    ) -> Result<Response<BotList>, Status> {
        let listed = self.list_all_bots(request.into_inner()).await?;
        Ok(Response::new(listed))
    }

    async fn update_bot(
        &self,
        request: Request<UpdateBotRequest>,
    ) -> Result<Response<BotRecord>, Status> {
        let work = |admin: Self, it| async move { admin.update_bot_of(it).await };
        self.administer(request, work).await
    }

    async fn remove_bot(
        &self,
        request: Request<RemoveBotRequest>,
    ) -> Result<Response<BotRecord>, Status> {
        let work = |admin: Self, it| async move { admin.end_bot(it).await };
        self.administer(request, work).await
    }

    async fn replace_bot_token(
        &self,
        request: Request<ReplaceBotTokenRequest>,
    ) -> Result<Response<CreatedToken>, Status> {
        let work = |admin: Self, it| async move { admin.another_token(it).await };
        self.administer(request, work).await
    }

    async fn read_updates(
        &self,
        request: Request<ReadUpdatesRequest>,
    ) -> Result<Response<UpdateList>, Status> {
        let read = self.updates(request.into_inner()).await?;
        Ok(Response::new(read))
    }
}

/// How rows of the audit log name a bot, and its tokens their owner.
fn target(name: &str) -> String {
    format!("bot {name}")
}

fn record(
    bot: UserProfile,
    departments: &std::collections::HashMap<u32, (u32, String)>,
) -> BotRecord {
    BotRecord {
        id: bot.id.get(),
        name: bot.name,
        nick: bot.nick,
        department: path(bot.department, departments),
        department_id: bot.department,
        avatar: bot.avatar,
        signature: bot.signature,
        active: bot.status == ACTIVE,
    }
}

/// What a row of the audit log shows of a bot.
fn seen(bot: &BotRecord) -> Value {
    json!({
        "nick": bot.nick,
        "department": bot.department,
        "avatar": bot.avatar,
        "signature": bot.signature,
        "active": bot.active,
    })
}
