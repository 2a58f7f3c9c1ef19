//! Answers to the calls of followers.

use std::sync::Arc;
use std::time::Duration;

use im_core::time::unix_millis;
use im_core::{Chain, GroupId, UserId};
use im_order::{CommitSeq, Partition};
use im_proto_rpc::v1;
use im_proto_rpc::v1::follow_call::Call;
use im_proto_rpc::v1::follow_item::Item;
use im_store::{FollowerRetry, FollowerStep, Preview, StoreError};
use tracing::{debug, info, warn};

use super::Shared;
use super::holders::Hold;
use super::link::Answered;
use crate::log::PageLimit;

/// Wait before the store is asked again that has not answered.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// Longest key of what is to be tried again, bytes.
const LONGEST_KEY: usize = 256;

/// The name under which notices are made.
const PUSH: &str = "push";

/// Longest reason of a verdict, bytes.
const MAX_REASON: usize = 256;

/// For counts alone.
const NO_PREVIEW: Preview = Preview {
    rows: 1,
    bytes: usize::MAX,
    body: 0,
};

pub(super) fn refused(reason: impl Into<String>) -> Item {
    Item::Refused(v1::FollowRefused {
        reason: reason.into(),
    })
}

impl Shared {
    /// Answers one call; `hold` is what the link holds.
    pub(super) async fn answer(
        self: Arc<Self>,
        call: v1::FollowCall,
        hold: Option<Arc<Hold>>,
    ) -> Answered {
        let v1::FollowCall { tag, call } = call;
        if let (Some(Call::Hold(call)), None) = (&call, &hold) {
            let (item, hold) = self.hold(call).await;
            return Answered { tag, item, hold };
        }
        let item = match (call, hold) {
            (Some(Call::Hold(_)), Some(_)) => refused("this link holds a name already"),
            (None, _) => refused("there is no such call"),
            (Some(_), None) => Item::Fenced(v1::FollowFenced {}),
            (Some(call), Some(hold)) => self.call(call, &hold).await,
        };
        if matches!(item, Item::Refused(_)) {
            self.metrics.refused();
        }
        Answered {
            tag,
            item,
            hold: None,
        }
    }

    async fn call(&self, call: Call, hold: &Hold) -> Item {
        match call {
            Call::Hold(_) => refused("this link holds a name already"),
            Call::Read(read) => self.read(read, hold).await,
            Call::Step(step) => self.step(step, hold).await,
            Call::Due(due) => self.due(due, hold).await,
            Call::Targets(asked) => self.targets(asked).await,
            Call::Facts(asked) => self.facts(asked).await,
            Call::Gone(gone) => self.gone(gone).await,
            Call::Hooks(asked) => self.hooks(asked, hold).await,
            Call::Hook(step) => self.hook_step(step, hold).await,
            Call::Tests(asked) => self.test(asked, hold).await,
            Call::Tested(tested) => self.tested(tested, hold),
            Call::Changes(asked) => self.changes(asked, hold).await,
            Call::Sessions(asked) => self.sessions(asked, hold).await,
        }
    }

    /// Waits for the place of a name, and takes it.
    async fn hold(&self, call: &v1::FollowHold) -> (Item, Option<Hold>) {
        let name = call.name.as_str();
        let place = match self.holders.place(name) {
            Ok(place) => place,
            Err(reason) => {
                self.metrics.refused();
                return (refused(reason.to_string()), None);
            }
        };
        let Ok(place) = place.acquire_owned().await else {
            return (refused("nobody holds names any more"), None);
        };
        let start = self.log_end().await;
        let (store, only) = (&self.context.store, Partition::ONLY);
        let held = persist(|| store.hold_follower(name, only, start)).await;
        if call.longest_wait_ms > 0 {
            // Under a clock that was ahead they may have been put off for as long.
            let latest = unix_millis().saturating_add(call.longest_wait_ms);
            let latest = latest.min(i64::MAX.unsigned_abs());
            let early = persist(|| store.advance_retries(name, only, latest)).await;
            if early > 0 {
                warn!(
                    follower = name,
                    jobs = early,
                    "were to be tried in the far future, and are tried in time"
                );
            }
        }
        let retries = persist(|| store.count_retries(name, only)).await;
        info!(follower = name, epoch = held.epoch, position = %held.position, "the name is held");
        self.metrics.stands(name, held.position, retries);
        let item = Item::Held(v1::FollowHeld {
            epoch: held.epoch,
            position: held.position.to_wire(),
            retries,
        });
        let hold = Hold {
            name: name.to_owned(),
            epoch: held.epoch,
            _place: place,
        };
        (item, Some(hold))
    }

    /// Where the log ends, once that is known.
    pub(super) async fn log_end(&self) -> CommitSeq {
        let mut positions = self.context.publisher.positions();
        let known = positions.wait_for(Option::is_some).await;
        known.ok().and_then(|known| *known).unwrap_or_default()
    }

    /// Whether the epoch of a hold is still that of its name: it may have been rewound.
    pub(super) async fn holds(&self, hold: &Hold) -> bool {
        let store = &self.context.store;
        let epoch = persist(|| store.follower_epoch(&hold.name, Partition::ONLY)).await;
        epoch == Some(hold.epoch)
    }

    async fn read(&self, read: v1::FollowRead, hold: &Hold) -> Item {
        let config = self.config();
        let after = CommitSeq::from_wire(read.after);
        let wait = Duration::from_millis(read.wait_ms.into()).min(config.max_wait.duration());
        let mut positions = self.context.publisher.positions();
        let moved = positions.wait_for(|at| at.is_some_and(|at| at > after));
        // In vain or not: the page says what there is.
        drop(tokio::time::timeout(wait, moved).await);
        if !self.holds(hold).await {
            return Item::Fenced(v1::FollowFenced {});
        }
        let or_most = |asked: u32, most: u32| if asked == 0 { most } else { asked.min(most) };
        let most = PageLimit {
            rows: or_most(read.rows, config.page),
            bytes: or_most(read.bytes, config.page_bytes.as_u32()) as usize,
        };
        let mut page = persist(|| self.log.page(after, most)).await;
        let longest = read.body_bytes as usize;
        for message in &mut page.messages {
            if message.data.len() > longest {
                message.data.clear();
            }
        }
        Item::Page(page)
    }

    async fn step(&self, step: v1::FollowStep, hold: &Hold) -> Item {
        let config = self.config();
        let v1::FollowStep {
            position,
            put,
            remove,
        } = step;
        if put.len().saturating_add(remove.len()) > config.max_step {
            return refused("the step is too long");
        }
        let longest = config.max_retry.as_usize();
        let fits =
            |retry: &v1::FollowRetry| retry.key.len() <= LONGEST_KEY && retry.body.len() <= longest;
        if !put.iter().all(fits) {
            return refused("what is to be tried again is too long");
        }
        let position = CommitSeq::from_wire(position);
        if self
            .context
            .publisher
            .position()
            .is_none_or(|end| position > end)
        {
            return refused("the position lies beyond the log");
        }
        let put = put.into_iter().map(|retry| FollowerRetry {
            key: retry.key,
            lane: retry.lane,
            due: retry.due,
            tries: retry.tries,
            body: retry.body,
        });
        let step = FollowerStep {
            name: hold.name.clone(),
            partition: Partition::ONLY,
            epoch: hold.epoch,
            position,
            put: put.collect(),
            remove,
        };
        let store = &self.context.store;
        if !persist(|| store.step_follower(&step)).await {
            return Item::Fenced(v1::FollowFenced {});
        }
        let retries = persist(|| store.count_retries(&hold.name, Partition::ONLY)).await;
        self.metrics.stands(&hold.name, position, retries);
        Item::Stepped(v1::FollowStepped { retries })
    }

    async fn due(&self, due: v1::FollowDue, hold: &Hold) -> Item {
        let most = u32::try_from(self.config().max_step).unwrap_or(u32::MAX);
        let rows = due.rows.min(most);
        let (store, only) = (&self.context.store, Partition::ONLY);
        let due = persist(|| store.due_retries(&hold.name, only, due.lane, due.until, rows)).await;
        let retries = due.into_iter().map(|retry| v1::FollowRetry {
            key: retry.key,
            lane: retry.lane,
            due: retry.due,
            tries: retry.tries,
            body: retry.body,
        });
        Item::Retries(v1::FollowRetries {
            retries: retries.collect(),
        })
    }

    async fn targets(&self, asked: v1::PushTargetsOf) -> Item {
        if asked.users.len() > self.config().max_asked {
            return refused("too many people");
        }
        let users = users(&asked.users);
        let told = persist(|| self.context.store.push_targets(&users)).await;
        let targets = told.into_iter().map(|told| v1::PushTarget {
            user: told.target.user.get(),
            client_type: told.target.client_type.to_wire(),
            token: told.target.token,
            session: told.target.session,
            night_shield: told.night_shield,
        });
        Item::Targets(v1::PushTargets {
            targets: targets.collect(),
        })
    }

    async fn facts(&self, asked: v1::PushFactsOf) -> Item {
        let most = self.config().max_asked;
        let v1::PushFactsOf {
            unread,
            names,
            groups,
        } = asked;
        if [unread.len(), names.len(), groups.len()]
            .iter()
            .any(|len| *len > most)
        {
            return refused("too much is asked");
        }
        let store = &self.context.store;
        let mut facts = v1::PushFacts::default();
        for user in users(&unread) {
            let pending = self.context.positions.pending(user);
            let unread = persist(|| store.unread_sessions(user, &pending, NO_PREVIEW)).await;
            facts.unread.push(v1::PushUnread {
                user: user.get(),
                count: u32::try_from(unread.total).unwrap_or(u32::MAX),
            });
        }
        let names = users(&names);
        let profiles = persist(|| store.profiles(&names)).await;
        facts.names = profiles
            .into_iter()
            .map(|profile| v1::PushName {
                user: profile.id.get(),
                nick: profile.nick,
            })
            .collect();
        for group in groups.into_iter().filter_map(GroupId::from_wire) {
            let members = persist(|| store.members(group)).await;
            let shielded = members.into_iter().filter(|member| member.shielded);
            facts.shields.push(v1::PushShield {
                group: group.get(),
                users: shielded.map(|member| member.user.get()).collect(),
            });
        }
        Item::Facts(facts)
    }

    /// Waits for a test notice. Only who still holds the name takes it.
    async fn test(&self, asked: v1::PushTestsOf, hold: &Hold) -> Item {
        if hold.name != PUSH {
            return refused("this name makes no notices");
        }
        let wait = Duration::from_millis(asked.wait_ms.into());
        let wait = wait.min(self.config().max_wait.duration());
        self.tests.asked(wait).await;
        if !self.holds(hold).await {
            return Item::Fenced(v1::FollowFenced {});
        }
        Item::Test(self.tests.take().unwrap_or_default())
    }

    fn tested(&self, tested: v1::PushTested, hold: &Hold) -> Item {
        if hold.name != PUSH {
            return refused("this name makes no notices");
        }
        let v1::PushTested { id, verdict } = tested;
        let Some(mut verdict) = verdict else {
            return refused("the verdict is missing");
        };
        let end = verdict.reason.floor_char_boundary(MAX_REASON);
        verdict.reason.truncate(end);
        self.tests.tell(id, verdict);
        Item::Done(v1::FollowDone {})
    }

    async fn gone(&self, gone: v1::PushTargetGone) -> Item {
        let store = &self.context.store;
        persist(|| store.drop_push_target(&gone.token, gone.session)).await;
        Item::Done(v1::FollowDone {})
    }
}

fn users(ids: &[u32]) -> Vec<UserId> {
    ids.iter().filter_map(|id| UserId::from_wire(*id)).collect()
}

/// Asks the store until it answers. Whoever waits goes away with the link.
pub(super) async fn persist<T, F>(mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Result<T, StoreError>>,
{
    let mut failed = false;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) if failed => debug!(error = %Chain(&error), "the store failed again"),
            Err(error) => {
                failed = true;
                warn!(error = %Chain(&error), "the store failed, a follower waits");
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}
