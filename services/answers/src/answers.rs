//! Answers to what clients ask of the store, one file per subject.
//!
//! *Invariants.* The user is always the session's; ids that a client writes about itself are not
//! looked at. A body that the original would ignore is ignored here too. Every list is bounded, in
//! number where the request names things and in bytes for the answer. Conversations of a group are
//! shown to its members only, and to each from his joining on.

mod buddy;
mod convert;
mod cost;
mod directory;
mod events;
mod frames;
mod groups;
mod history;
mod metrics;
mod sessions;
mod settings;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use im_accounts::Accounts;
use im_codec::{Command, TeamtalkMessage, decode_checked};
use im_config::{AnswersConfig, DbProxyConfig};
use im_core::{Chain, ClientType, Conversation, Peer, TerminalClass, UserId};
use im_proto_rpc::v1::{Query, answer::Outcome};
use im_runtime::Throttle;
use im_store::{Store, StoreError};
use im_writer::{Context, Positions, Publisher, WriterError, WriterHandle};
use tracing::{debug, warn};

pub use groups::{affected, change_notify};
pub use metrics::AnswerMetrics;
use metrics::Bound;

use crate::answered::{Answered, Body, Cost};
use crate::hourly::Hourly;
use crate::striped_locks::StripedLocks;
use directory::Directory;
use frames::Bounds;

/// Answers queries.
pub struct Answers {
    store: Arc<dyn Store>,
    writer: WriterHandle,
    publisher: Publisher,
    positions: Positions,
    accounts: Arc<Accounts>,
    config: Arc<DbProxyConfig>,
    directory: Directory,
    /// Whoever makes groups does so one after the other, so that the limit holds.
    creating: StripedLocks,
    grouping: Mutex<Grouping>,
    trouble: Throttle,
    metrics: AnswerMetrics,
}

/// What people did with groups this hour.
struct Grouping {
    made: Hourly<UserId>,
    /// Put into groups by others.
    joined: Hourly<UserId>,
}

/// People whose hours are remembered: a few MiB.
const COUNTED_PEOPLE: usize = 100_000;

/// Who asks.
#[derive(Clone, Copy, Debug)]
struct Asker {
    user: UserId,
    /// Epoch of the session.
    origin: u64,
    client: Option<ClientType>,
}

impl Asker {
    fn is_mobile(self) -> bool {
        self.client
            .is_some_and(|client| client.class() == TerminalClass::Mobile)
    }
}

/// What a handler says.
enum Reply {
    /// The protocol has no answer here.
    Silent,
    /// Bodies of one or more frames.
    Frames(Command, Vec<Body>),
}

impl Reply {
    fn one<M: TeamtalkMessage>(command: Command, message: &M) -> Self {
        debug_assert_eq!(command.message(), M::KIND, "message of another command");
        Self::Frames(command, vec![body(message)])
    }

    fn many<M: TeamtalkMessage>(command: Command, messages: impl Iterator<Item = M>) -> Self {
        debug_assert_eq!(command.message(), M::KIND, "message of another command");
        Self::Frames(command, messages.map(|message| body(&message)).collect())
    }
}

fn body<M: TeamtalkMessage>(message: &M) -> Body {
    Bytes::from(message.encode_to_vec()).into()
}

/// Why a query gets no answer although it deserves one.
#[derive(Debug, thiserror::Error)]
enum QueryError {
    #[error("ask the store")]
    Store(#[from] StoreError),
    #[error("change a group")]
    Writer(#[from] WriterError),
    #[error("wait for the store longer than allowed")]
    TimedOut,
    #[error("answer while stopping")]
    Stopping,
}

type Handled = Result<Reply, QueryError>;

impl Answers {
    /// Works with the context; `accounts` remembers profiles that are changed here.
    pub fn new(context: &Context, accounts: Arc<Accounts>, metrics: AnswerMetrics) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::clone(&context.store),
            writer: context.writer.clone(),
            publisher: context.publisher.clone(),
            positions: context.positions.clone(),
            accounts,
            config: Arc::clone(&context.config),
            directory: Directory::new(
                context.config.answers.max_directory_answers,
                context.config.answers.directory_kept.as_usize(),
            ),
            creating: StripedLocks::default(),
            grouping: Mutex::new(Grouping {
                made: Hourly::new(COUNTED_PEOPLE),
                joined: Hourly::new(COUNTED_PEOPLE),
            }),
            trouble: Throttle::default(),
            metrics,
        })
    }

    #[cfg(test)]
    pub(crate) fn directory_builds(&self) -> u64 {
        self.metrics.directory_builds()
    }

    fn limits(&self) -> &AnswersConfig {
        &self.config.answers
    }

    /// Whether this much keeps to a bound; counted when it does not.
    fn fits(&self, bound: Bound, much: usize, most: usize) -> bool {
        let fits = much <= most;
        if !fits {
            self.metrics.reached(bound);
        }
        fits
    }

    fn bounds(&self, asker: Asker) -> Bounds {
        let limits = self.limits();
        Bounds::of(asker.client, limits, limits.max_answer.as_usize())
    }

    /// Bounds of an answer with messages, and of lists that every terminal asks for.
    fn list_bounds(&self, asker: Asker) -> Bounds {
        let limits = self.limits();
        let total = limits.max_list_bytes.min(limits.max_answer).as_usize();
        Bounds::of(asker.client, limits, total)
    }

    async fn handle(&self, asker: Asker, command: Command, body: Bytes) -> Handled {
        match command {
            Command::RecentContactSessionReq => self.recent_sessions(asker, body).await,
            // The iOS client asks with the number of the answer.
            Command::RemoveSessionReq | Command::RemoveSessionRsp => {
                self.remove_session(asker, body).await
            }
            Command::UnreadMsgCntReq => self.unread_counts(asker, body).await,
            Command::MsgDataReadAck => self.read_ack(asker, body).await,
            Command::GetMsgListReq => self.message_list(asker, body).await,
            Command::GetLatestMsgIdReq => self.latest_id(asker, body).await,
            Command::GetMsgByIdReq => self.messages_by_id(asker, body).await,
            Command::UsersInfoReq => self.users_info(asker, body).await,
            Command::ChangeAvatarReq => self.change_avatar(asker, body).await,
            Command::ChangeSignInfoReq => self.change_signature(asker, body).await,
            Command::AllUserReq => self.all_users(asker, body).await,
            Command::DepartmentReq => self.departments(asker, body).await,
            Command::NormalGroupListReq => self.own_groups(asker, body).await,
            Command::GroupInfoListReq => self.group_infos(asker, body).await,
            Command::GroupCreateReq => self.create_group(asker, body).await,
            Command::GroupChangeMemberReq => self.change_members(asker, body).await,
            Command::GroupShieldReq => self.shield_group(asker, body).await,
            Command::DeviceTokenReq => self.device_token(asker, body).await,
            Command::PushShieldReq => self.set_push_shield(asker, body).await,
            Command::QueryPushShieldReq => self.push_shield(asker, body).await,
            _ => Ok(Reply::Silent),
        }
    }

    /// The conversation with a peer if this user may see it, and the first id that he may see.
    async fn visible(
        &self,
        user: UserId,
        session_type: i32,
        session_id: u32,
    ) -> Result<Option<Visible>, StoreError> {
        let peer = u32::try_from(session_type)
            .ok()
            .and_then(|session_type| Peer::from_wire(session_type, session_id));
        let Some(peer) = peer else { return Ok(None) };
        let Some(conversation) = Conversation::of(user, peer) else {
            return Ok(None);
        };
        let oldest = match peer {
            Peer::User(_) => 1,
            Peer::Group(group) => match self.store.member(group, user).await? {
                Some(member) => member.joined_id.saturating_add(1),
                None => return Ok(None),
            },
        };
        Ok(Some(Visible {
            conversation,
            oldest,
        }))
    }

    /// Those users of a list that exist, each once, ascending. What exceeds `max` is not looked at.
    async fn existing(&self, ids: &[u32], max: usize) -> Result<Vec<UserId>, StoreError> {
        let mut users: Vec<UserId> = ids.iter().filter_map(|id| UserId::from_wire(*id)).collect();
        users.sort_unstable();
        users.dedup();
        users.truncate(max);
        if users.is_empty() {
            return Ok(users);
        }
        let profiles = self.store.profiles(&users).await?;
        Ok(profiles.into_iter().map(|profile| profile.id).collect())
    }
}

/// A conversation that somebody may see.
struct Visible {
    conversation: Conversation,
    oldest: u32,
}

/// The request, unless the original would ignore it.
fn decode<M: TeamtalkMessage>(body: Bytes) -> Option<M> {
    decode_checked(body)
        .inspect_err(|error| debug!(message = ?M::KIND, error = %Chain(&error), "request ignored"))
        .ok()
}

impl Answers {
    /// What the answer may cost.
    pub fn cost(&self, query: &Query) -> Cost {
        let command = u16::try_from(query.command).ok().and_then(Command::from_id);
        cost::of(command, query.body.len(), &self.config)
    }

    /// The answer to one request; never fails, a store that does not answer is `Outcome::Failed`. May
    /// be dropped half-way unless it changes something ([`Cost::changes`]).
    pub async fn answer(&self, query: Query) -> Answered {
        let Some(user) = UserId::from_wire(query.user) else {
            return Answered::nothing(Outcome::Silent);
        };
        let Some(command) = u16::try_from(query.command).ok().and_then(Command::from_id) else {
            return Answered::nothing(Outcome::Silent);
        };
        let asker = Asker {
            user,
            origin: query.origin,
            client: ClientType::from_wire(query.client_type),
        };
        let time = self.limits().timeout.duration();
        let handled = tokio::time::timeout(time, self.handle(asker, command, query.body))
            .await
            .unwrap_or(Err(QueryError::TimedOut));
        match handled {
            Ok(Reply::Silent) => {
                self.metrics.answered(Outcome::Silent);
                Answered::nothing(Outcome::Silent)
            }
            Ok(Reply::Frames(command, bodies)) => {
                self.metrics.answered(Outcome::Answered);
                Answered {
                    outcome: Outcome::Answered,
                    command: command.id().into(),
                    bodies,
                }
            }
            Err(error) => {
                self.metrics.answered(Outcome::Failed);
                if self.trouble.is_due() {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    warn!(%user, command = command.name(), error = %Chain(&error), cause, "query not answered");
                }
                Answered::nothing(Outcome::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests;
