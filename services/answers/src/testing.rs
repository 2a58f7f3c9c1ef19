//! Answers and accounts over a real store, writer, positions and publisher; the test plays the route
//! server at the other end of the publisher's link.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests have this module"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use im_accounts::{AccountMetrics, Accounts, RememberKeys};
use im_codec::{Command, TeamtalkMessage, decode_checked};
use im_config::DbProxyConfig;
use im_config::units::{ByteSize, Span};
use im_core::time::UnixSeconds;
use im_core::{ClientType, UserId};
use im_proto_rpc::v1::{self, publish_item::Item};
use im_store::testing::TempStore;
use im_store::{DirectoryImport, DirectoryStore as _, ImportedUser};
use im_writer::testing::{RouteEnd, Sink, people, route};
use im_writer::{Context, Core, Metrics, Publication, SendBatch, SendRules};

use crate::{AnswerMetrics, Answers};

/// Nothing here takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub struct Rig {
    /// The store.
    pub temp: TempStore,
    /// Checks logins, with cheap hashes.
    pub accounts: Arc<Accounts>,
    /// The running writer's.
    pub context: Context,
    /// Answers queries.
    pub answers: Arc<Answers>,
    route: RouteEnd,
    /// Items received and not looked at.
    items: std::collections::VecDeque<Item>,
    _core: Core,
}

/// One terminal.
#[derive(Clone, Copy)]
pub struct Terminal {
    /// Whose it is.
    pub user: u32,
    /// Epoch of its session.
    pub origin: u64,
    /// What it is.
    pub client: ClientType,
}

/// Users 1 to 9 have terminals whose epochs say who and what they are.
pub fn windows(user: u32) -> Terminal {
    Terminal {
        user,
        origin: u64::from(user) * 10 + 1,
        client: ClientType::Windows,
    }
}

/// An Android terminal of this user.
pub fn android(user: u32) -> Terminal {
    Terminal {
        user,
        origin: u64::from(user) * 10 + 2,
        client: ClientType::Android,
    }
}

/// An iOS terminal of this user.
pub fn ios(user: u32) -> Terminal {
    Terminal {
        user,
        origin: u64::from(user) * 10 + 3,
        client: ClientType::Ios,
    }
}

/// A user's id.
pub fn user(id: u32) -> UserId {
    UserId::from_wire(id).unwrap()
}

/// Cheap hashes, and pushes that gather for a millisecond.
pub fn small_config() -> DbProxyConfig {
    let mut config = DbProxyConfig::default();
    config.accounts.argon2_memory = ByteSize::kib(8);
    config.accounts.argon2_iterations = 1;
    config.accounts.max_hash_memory = ByteSize::kib(64);
    config.publish.gather = Span::millis(1);
    config
}

impl Rig {
    /// With users 1 to 9, named user1 to user9.
    pub async fn new() -> Self {
        Self::with(small_config()).await
    }

    /// With the same people, configured like this.
    pub async fn with(config: DbProxyConfig) -> Self {
        Self::of(config, RememberKeys::none()).await
    }

    /// Remembers verified logins under these keys.
    pub async fn remembering(keys: RememberKeys) -> Self {
        Self::of(small_config(), keys).await
    }

    async fn of(config: DbProxyConfig, keys: RememberKeys) -> Self {
        let temp = people().await;
        let store = Arc::new(temp.store.clone());
        let core = Core::start(Arc::new(config), store, Metrics::default());
        let context = core.context.clone();
        let route = route(&context.publisher).await;
        let accounts = Arc::new(Accounts::new(
            Arc::clone(&context.store),
            context.config.accounts.clone(),
            keys,
            AccountMetrics::default(),
        ));
        let answers = Answers::new(&context, Arc::clone(&accounts), AnswerMetrics::default());
        let mut rig = Self {
            temp,
            accounts,
            context,
            answers,
            route,
            items: std::collections::VecDeque::new(),
            _core: core,
        };
        // The first batch says that the link is served.
        rig.batch().await;
        rig
    }

    /// Asks with an encoded body.
    pub async fn raw(&self, from: Terminal, command: u32, body: Bytes) -> v1::Answer {
        self.answers
            .answer(v1::Query {
                user: from.user,
                origin: from.origin,
                client_type: from.client.to_wire(),
                command,
                body,
                ..v1::Query::default()
            })
            .await
            .whole()
    }

    /// Asks; `None` when there is no answer. All frames of an answer.
    pub async fn frames<Q: TeamtalkMessage, A: TeamtalkMessage>(
        &self,
        from: Terminal,
        command: Command,
        request: &Q,
    ) -> Option<Vec<A>> {
        assert_eq!(command.message(), Q::KIND);
        let body = Bytes::from(request.encode_to_vec());
        let answer = self.raw(from, command.id().into(), body).await;
        match answer.outcome() {
            v1::answer::Outcome::Silent => None,
            v1::answer::Outcome::Failed => panic!("{command:?} failed"),
            v1::answer::Outcome::Answered => {
                let expected = command.answer().expect("the command has an answer");
                assert_eq!(answer.command, u32::from(expected.id()));
                assert_eq!(expected.message(), A::KIND);
                let bodies = std::iter::once(answer.body).chain(answer.more);
                Some(
                    bodies
                        .map(|body| {
                            if from.client == ClientType::Android {
                                assert!(body.len() + im_codec::HEADER_LEN < 409_600);
                            }
                            decode_checked(body).expect("answers are well formed")
                        })
                        .collect(),
                )
            }
        }
    }

    /// Asks for something that has an answer of one frame.
    pub async fn ask<Q: TeamtalkMessage, A: TeamtalkMessage>(
        &self,
        from: Terminal,
        command: Command,
        request: &Q,
    ) -> A {
        let mut frames: Vec<A> = self
            .frames(from, command, request)
            .await
            .expect("there is an answer");
        assert_eq!(frames.len(), 1, "one frame");
        frames.pop().unwrap()
    }

    /// Asks for something that has no answer.
    pub async fn silent<Q: TeamtalkMessage>(&self, from: Terminal, command: Command, request: &Q) {
        let body = Bytes::from(request.encode_to_vec());
        let answer = self.raw(from, command.id().into(), body).await;
        assert_eq!(answer.outcome(), v1::answer::Outcome::Silent);
        assert_eq!(
            (answer.command, answer.body.len(), answer.more.len()),
            (0, 0, 0)
        );
    }

    /// Stores a message and returns its id.
    pub async fn send(&self, from: Terminal, to: u32, msg_type: u32, body: &[u8]) -> u32 {
        let rules = SendRules::from(&self.context.config.writer);
        let send = v1::Send {
            from: from.user,
            origin: from.origin,
            to,
            msg_type,
            data: Bytes::copy_from_slice(body),
            client_seq: 0,
            ..v1::Send::default()
        };
        let incoming = rules.admit(1, send).expect("the message keeps the rules");
        let sink = Arc::new(Sink::default());
        let batch = SendBatch::new(vec![incoming], Arc::clone(&sink));
        assert!(self.context.writer.send(batch).await.is_ok());
        let (_, done) = sink.take(1).await.remove(0);
        assert_eq!(done.outcome(), v1::send_done::Outcome::Stored);
        done.msg_id
    }

    /// Text from one user to another.
    pub async fn text(&self, from: u32, to: u32, text: &str) -> u32 {
        self.send(windows(from), to, 0x01, text.as_bytes()).await
    }

    /// Text to a group.
    pub async fn group_text(&self, from: u32, group: u32, text: &str) -> u32 {
        self.send(windows(from), group, 0x11, text.as_bytes()).await
    }

    /// The next event, with its message; there must be one.
    pub async fn event<M: TeamtalkMessage>(&mut self, command: Command) -> (v1::Event, M) {
        assert_eq!(command.message(), M::KIND);
        loop {
            match self.item().await {
                Item::Event(event) => {
                    assert_eq!(event.command, u32::from(command.id()));
                    let message = decode_checked(event.body.clone()).unwrap();
                    return (event, message);
                }
                Item::Message(_) => {}
                other => panic!("an event is expected, not {other:?}"),
            }
        }
    }

    /// Two events, whatever they say.
    pub async fn two_events(&mut self) {
        for _ in 0..2 {
            assert!(matches!(self.item().await, Item::Event(_)));
        }
    }

    /// The next kick.
    pub async fn kicked(&mut self) -> v1::Kick {
        loop {
            match self.item().await {
                Item::Kick(kick) => return kick,
                Item::Message(_) => {}
                other => panic!("a kick is expected, not {other:?}"),
            }
        }
    }

    /// The next question for sessions, answered with these.
    pub async fn answer_sessions(&mut self, sessions: Vec<v1::SessionInfo>) {
        loop {
            if let Item::ListSessions(list) = self.item().await {
                let reply = v1::SessionList {
                    tag: list.tag,
                    sessions,
                };
                let replies = v1::PublishReplies {
                    confirmed: 0,
                    lists: vec![reply],
                };
                self.route.link.tx.send(replies).await.unwrap();
                return;
            }
        }
    }

    /// Nothing but messages was published since: says so by a mark of its own.
    pub async fn no_event(&mut self) {
        let mark = v1::Event {
            command: 0xffff,
            ..v1::Event::default()
        };
        let mark = v1::Event {
            broadcast: true,
            ..mark
        };
        self.context.publisher.publish_gathered();
        self.context
            .publisher
            .publish(vec![Publication::Event(mark.clone())]);
        loop {
            match self.item().await {
                Item::Event(event) if event == mark => return,
                Item::Message(_) => {}
                other => panic!("nothing is expected, not {other:?}"),
            }
        }
    }

    async fn item(&mut self) -> Item {
        loop {
            if let Some(item) = self.items.pop_front() {
                return item;
            }
            self.batch().await;
        }
    }

    async fn batch(&mut self) {
        let batch = tokio::time::timeout(PATIENCE, self.route.batch())
            .await
            .expect("something is published in time");
        self.items
            .extend(batch.items.into_iter().filter_map(|item| item.item));
    }

    /// Adds a user through the store.
    pub async fn import(&self, users: Vec<ImportedUser>) {
        let import = DirectoryImport {
            users,
            now: UnixSeconds::now(),
        };
        assert_eq!(self.temp.store.import(&import).await.unwrap().conflicts, []);
    }
}
