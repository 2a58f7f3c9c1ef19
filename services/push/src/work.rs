//! Messages to notices, notices to providers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use im_codec::text::{DEFAULT_KEY, TextCipher};
use im_config::{PreviewKind, PushConfig};
use im_core::time::{UnixSeconds, unix_millis};
use im_core::{ClientType, UserId};
use im_follower::{Calls, Ended, Job, Outcome, Work};
use im_proto_rpc::v1::{LiveMessage, PushFactsOf, PushTarget};
use im_runtime::Throttle;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::choose::{self, Left, Message, Way};
use crate::metrics::{Fate, Metrics};
use crate::notice::{self, Kind, Notice};
use crate::presence::Presence;
use crate::provider::{Answer, LANES, Lane, Providers};
use im_outbound::Gate;

/// People of one question to db-proxy.
const ASKED: usize = 4_096;

/// What push does about messages.
pub(crate) struct Push {
    config: PushConfig,
    zone: TimeZone,
    providers: Providers,
    gates: [Mutex<Gate>; LANES as usize],
    presence: Presence,
    cipher: TextCipher,
    trouble: Throttle,
    metrics: Metrics,
}

/// What is known of the people that messages are for.
struct Known<'a> {
    messages: &'a [Message],
    devices: HashMap<u32, Vec<PushTarget>>,
    ways: HashMap<u32, Way>,
    shields: HashMap<u32, Vec<u32>>,
    unread: HashMap<u32, u32>,
    nicks: HashMap<u32, String>,
}

impl Push {
    pub(crate) fn new(
        config: PushConfig,
        zone: TimeZone,
        providers: Providers,
        presence: Presence,
        metrics: Metrics,
    ) -> Self {
        let gate = || Mutex::new(Gate::new(config.failures, config.pause.duration()));
        Self {
            gates: [gate(), gate(), gate()],
            zone,
            providers,
            presence,
            cipher: TextCipher::new(DEFAULT_KEY),
            trouble: Throttle::default(),
            metrics,
            config,
        }
    }

    /// Devices of these people that somebody brings notices to.
    async fn devices(
        &self,
        calls: &Calls,
        people: &[u32],
    ) -> Result<HashMap<u32, Vec<PushTarget>>, Ended> {
        let mut devices: HashMap<u32, Vec<PushTarget>> = HashMap::new();
        for part in people.chunks(ASKED) {
            for target in calls.targets(part.to_vec()).await? {
                if self.lane_of(target.client_type).is_some() {
                    devices.entry(target.user).or_default().push(target);
                }
            }
        }
        Ok(devices)
    }

    fn lane_of(&self, client_type: u32) -> Option<Lane> {
        self.providers.lane_of(ClientType::from_wire(client_type)?)
    }

    /// Leaves out whoever is online or rests; returns how the others are told.
    async fn choose(&self, devices: &mut HashMap<u32, Vec<PushTarget>>) -> HashMap<u32, Way> {
        let people: Vec<u32> = devices.keys().copied().collect();
        let online = self.presence.of(&people).await;
        let is_night = self.is_night();
        let mut ways = HashMap::with_capacity(devices.len());
        devices.retain(|user, targets| {
            let online = online.get(user).copied().unwrap_or_default();
            match choose::way(self.config.when, online) {
                Ok(way) => drop(ways.insert(*user, way)),
                Err(left) => {
                    self.metrics.left_out(left);
                    return false;
                }
            }
            targets.retain(|target| {
                let rests = choose::rests(target, is_night);
                if rests {
                    self.metrics.left_out(Left::Night);
                }
                !rests
            });
            !targets.is_empty()
        });
        ways
    }

    fn is_night(&self) -> bool {
        let now = Timestamp::now().to_zoned(self.zone.clone());
        let hour = u16::try_from(now.hour()).unwrap_or_default();
        choose::is_night(hour, self.config.night_from, self.config.night_until)
    }

    fn shows_text(&self) -> bool {
        self.config.preview == PreviewKind::Text
    }

    /// Counts, names and shields for those who are told.
    async fn know<'a>(
        &self,
        calls: &Calls,
        messages: &'a [Message],
        devices: HashMap<u32, Vec<PushTarget>>,
        ways: HashMap<u32, Way>,
    ) -> Result<Known<'a>, Ended> {
        let mut known = Known {
            messages,
            ways,
            shields: HashMap::new(),
            unread: HashMap::new(),
            nicks: HashMap::new(),
            devices: HashMap::new(),
        };
        let mut names: Vec<u32> = Vec::new();
        if self.shows_text() {
            names = messages.iter().map(|it| it.from.get()).collect();
            names.sort_unstable();
            names.dedup();
        }
        let groups = choose::groups(messages, &devices);
        let people: Vec<u32> = devices.keys().copied().collect();
        let longest = people.len().max(names.len()).max(groups.len());
        let part = |all: &[u32], from: usize| -> Vec<u32> {
            all.iter().skip(from).take(ASKED).copied().collect()
        };
        for from in (0..longest).step_by(ASKED) {
            let facts = calls.facts(PushFactsOf {
                unread: part(&people, from),
                names: part(&names, from),
                groups: part(&groups, from),
            });
            let facts = facts.await?;
            let unread = facts.unread.into_iter();
            known.unread.extend(unread.map(|it| (it.user, it.count)));
            let nicks = facts.names.into_iter();
            known.nicks.extend(nicks.map(|it| (it.user, it.nick)));
            let shields = facts.shields.into_iter();
            known.shields.extend(shields.map(|it| (it.group, it.users)));
        }
        known.devices = devices;
        Ok(known)
    }

    fn notices(&self, known: &Known<'_>) -> Vec<(Lane, Notice)> {
        let is_shielded = |message: &Message, target: &PushTarget| {
            let users = message
                .group
                .and_then(|group| known.shields.get(&group.get()));
            let is_shielded = users.is_some_and(|users| users.contains(&target.user));
            if is_shielded {
                self.metrics.left_out(Left::Shield);
            }
            is_shielded
        };
        let newest = choose::newest(known.messages, &known.devices, is_shielded);
        let notices = newest.into_iter().filter_map(|(message, target)| {
            let lane = self.lane_of(target.client_type)?;
            let way = known.ways.get(&target.user).copied().unwrap_or(Way::Loud);
            self.metrics.notice(way);
            Some((lane, self.notice(message, target, way, known)))
        });
        notices.collect()
    }

    fn notice(
        &self,
        message: &Message,
        target: &PushTarget,
        way: Way,
        known: &Known<'_>,
    ) -> Notice {
        let alert = match way {
            Way::Silent => None,
            Way::Loud => Some(self.shown(message, known)),
        };
        let group = message.group.map(im_core::GroupId::get);
        let expires = message
            .time
            .saturating_add(self.config.expire_after.as_seconds_u32());
        Notice {
            user: target.user,
            client_type: target.client_type,
            token: target.token.clone(),
            session: target.session,
            alert,
            badge: known.unread.get(&target.user).copied().unwrap_or(1),
            custom: notice::custom(message.from.get(), group, message.msg_type),
            collapse: message.collapse.clone(),
            id: notice::id(message.seq, &target.token),
            seq: message.seq,
            expires: expires.get().into(),
        }
    }

    fn shown(&self, message: &Message, known: &Known<'_>) -> String {
        let generic = || self.config.generic_text.clone();
        if !self.shows_text() {
            return generic();
        }
        let nick = known.nicks.get(&UserId::get(message.from));
        let text = match message.kind {
            Kind::Text => self.cipher.decrypt(&message.data).ok(),
            Kind::Voice => None,
        };
        let most = self.config.preview_bytes.as_usize();
        nick.and_then(|nick| {
            let in_group = message.group.is_some();
            notice::preview(nick, message.kind, in_group, text.as_deref(), most)
        })
        .unwrap_or_else(generic)
    }

    fn with_gate<T>(&self, lane: Lane, with: impl FnOnce(&mut Gate) -> T) -> Option<T> {
        let gate = self.gates.get(lane as usize)?;
        let mut gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let result = with(&mut gate);
        self.metrics.paused(lane, gate.is_shut());
        Some(result)
    }

    /// Hands a notice to its provider, within the time that it has.
    async fn hand_over(&self, lane: Lane, notice: &Notice) -> Answer {
        let Some(provider) = self.providers.at(lane) else {
            return Answer::Rejected("its provider is not configured any more".to_owned());
        };
        let limit = self.config.attempt_timeout.duration();
        let sent = tokio::time::timeout(limit, provider.send(notice)).await;
        sent.unwrap_or_else(|_| Answer::later("no answer in time"))
    }

    /// Wait before the next attempt: doubled each time, between half of it and all.
    fn wait(&self, tries: u32, least: Duration) -> Duration {
        let least_of_all = self.config.retry_min.duration();
        let wait = least_of_all.saturating_mul(2_u32.saturating_pow(tries.min(31)));
        let wait = wait.min(self.config.retry_max.duration());
        wait.mul_f64(rand::random_range(0.5..=1.0)).max(least)
    }

    /// What the provider's word means for the gate, the device and the notice.
    async fn settle(
        &self,
        calls: &Calls,
        lane: Lane,
        notice: &Notice,
        answer: Answer,
        tries: u32,
    ) -> Outcome {
        match answer {
            Answer::Taken => {
                self.with_gate(lane, Gate::answered);
                self.metrics.attempt(lane, Fate::Taken);
                debug!(provider = ?lane, id = notice.id, user = notice.user, "notice taken");
                Outcome::Done
            }
            Answer::Gone(reason) => {
                self.with_gate(lane, Gate::answered);
                self.metrics.attempt(lane, Fate::Gone);
                debug!(provider = ?lane, user = notice.user, reason, "a device is gone");
                match calls.target_gone(&notice.token, notice.session).await {
                    Ok(()) => Outcome::Done,
                    // Whoever follows next is told of it again.
                    Err(_) => Outcome::Again(self.wait(tries, Duration::ZERO)),
                }
            }
            Answer::Rejected(reason) => {
                self.with_gate(lane, Gate::answered);
                self.metrics.attempt(lane, Fate::Rejected);
                if self.trouble.is_due() {
                    warn!(provider = ?lane, id = notice.id, reason, "a notice was rejected");
                }
                Outcome::Done
            }
            Answer::Later { reason, after } => {
                let shuts = self.with_gate(lane, |gate| gate.failed(Instant::now()));
                self.metrics.attempt(lane, Fate::Later);
                if shuts == Some(true) {
                    warn!(provider = ?lane, reason, "a provider does not take notices, it is left alone");
                } else {
                    debug!(provider = ?lane, id = notice.id, reason, tries, "notice not taken");
                }
                Outcome::Again(self.wait(tries, after.unwrap_or_default()))
            }
        }
    }
}

#[async_trait]
impl Work for Push {
    async fn jobs(&self, calls: &Calls, messages: Vec<LiveMessage>) -> Result<Vec<Job>, Ended> {
        let expire_after = self.config.expire_after.as_seconds_u32();
        let messages = choose::messages(messages, UnixSeconds::now(), expire_after);
        let people = choose::people(&messages);
        let mut devices = self.devices(calls, &people).await?;
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let ways = self.choose(&mut devices).await;
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.know(calls, &messages, devices, ways).await?;
        let notices = self.notices(&known).into_iter();
        let jobs = notices.filter_map(|(lane, notice)| {
            Some(Job {
                key: notice::key(&notice.token, &notice.collapse),
                lane: lane as u32,
                body: serde_json::to_vec(&notice).ok()?.into(),
            })
        });
        Ok(jobs.collect())
    }

    async fn attempt(&self, calls: &Calls, body: Bytes, tries: u32) -> Outcome {
        // Of a version that wrote something else.
        let Ok(notice) = serde_json::from_slice::<Notice>(&body) else {
            return Outcome::Done;
        };
        let Some(lane) = self.lane_of(notice.client_type) else {
            return Outcome::Done;
        };
        if notice.expires <= unix_millis() / 1_000 {
            self.metrics.attempt(lane, Fate::Expired);
            return Outcome::Done;
        }
        if let Some(Err(wait)) = self.with_gate(lane, |gate| gate.enter(Instant::now())) {
            self.metrics.attempt(lane, Fate::Paused);
            return Outcome::Again(wait.mul_f64(rand::random_range(1.0..=1.5)));
        }
        let answer = self.hand_over(lane, &notice).await;
        self.settle(calls, lane, &notice, answer, tries).await
    }

    fn lanes(&self) -> u32 {
        LANES
    }
}

#[cfg(test)]
mod tests;
