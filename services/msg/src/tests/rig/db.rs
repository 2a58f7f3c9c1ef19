//! A player of db-proxy.

use super::*;

/// When it says that logins were accepted.
pub(in crate::tests) const LOGIN_MS: u64 = 1_234;

/// What the player of db-proxy knows and does.
#[derive(Default)]
pub(in crate::tests) struct Db {
    pub(in crate::tests) log: Vec<LiveMessage>,
    pub(in crate::tests) sends: Vec<Send>,
    pub(in crate::tests) queries: Vec<im_proto_rpc::v1::Query>,
    pub(in crate::tests) reads: Vec<u64>,
    pub(in crate::tests) related: HashMap<u32, Vec<u32>>,
    pub(in crate::tests) related_asked: Vec<u32>,
    pub(in crate::tests) logins: u32,
    /// Tags that nobody waits for any more.
    pub(in crate::tests) cancelled: Vec<u64>,
    /// What was taken off the link, as it was told.
    pub(in crate::tests) taken: Vec<u64>,
    /// Logins are answered with this time to wait.
    pub(in crate::tests) busy_ms: u32,
    /// It is of an earlier version and does not say when a login was accepted.
    pub(in crate::tests) says_no_time: bool,
    /// Senders of messages are told to wait so long.
    pub(in crate::tests) wait_ms: u32,
    /// Bodies of further frames of every answer.
    pub(in crate::tests) more: Vec<Bytes>,
    /// Messages, queries and logins are not answered while set.
    pub(in crate::tests) holds: bool,
    pub(in crate::tests) held: Vec<DbCall>,
    /// Outcome of messages by receiver; the rest is stored.
    pub(in crate::tests) outcomes: HashMap<u32, send_done::Outcome>,
    pub(super) batches: Vec<usize>,
    pub(in crate::tests) batch_bytes: Vec<usize>,
    pub(super) accepts: bool,
    pub(super) link: Option<(tokio::sync::mpsc::Sender<DbResults>, CancellationToken)>,
}

impl Db {
    /// Users are called u1, u2, …; their password is "ok".
    fn answer(&mut self, call: DbCall) -> DbResult {
        let result = match call.call.unwrap() {
            db_call::Call::Login(login) => db_result::Result::Login(self.login(&login)),
            db_call::Call::Send(send) => db_result::Result::Send(self.store(send)),
            db_call::Call::Query(query) => {
                let answer = self.answer_query(&query);
                self.queries.push(query);
                db_result::Result::Answer(answer)
            }
            db_call::Call::ReadLog(read) => {
                self.reads.push(read.after);
                let messages: Vec<LiveMessage> = self
                    .log
                    .iter()
                    .filter(|message| message.seq > read.after)
                    .take(read.limit as usize)
                    .cloned()
                    .collect();
                let end = self.log.len() as u64;
                let through = messages
                    .last()
                    .map_or_else(|| end.max(read.after), |last| last.seq);
                db_result::Result::Log(LogPage {
                    messages,
                    through,
                    more: through < end,
                })
            }
            db_call::Call::Cancel(_) | db_call::Call::Taken(_) => {
                unreachable!("taken out before")
            }
            db_call::Call::FileKept(_) | db_call::Call::Sessions(_) => {
                db_result::Result::Noted(im_proto_rpc::v1::Noted {})
            }
            db_call::Call::Related(related) => {
                self.related_asked.extend(&related.users);
                let entries = related.users.iter().map(|user| related_done::Entry {
                    user: *user,
                    related: self.related.get(user).cloned().unwrap_or_default(),
                });
                db_result::Result::Related(RelatedDone {
                    entries: entries.collect(),
                })
            }
        };
        DbResult {
            tag: call.tag,
            result: Some(result),
        }
    }

    fn login(&mut self, login: &im_proto_rpc::v1::LoginCall) -> LoginDone {
        self.logins += 1;
        if self.busy_ms != 0 {
            return LoginDone {
                result_code: 7,
                retry_after_ms: self.busy_ms,
                ..LoginDone::default()
            };
        }
        let user = login.user_name.trim_start_matches('u').parse().unwrap_or(0);
        if login.password != "ok" || user == 0 {
            return LoginDone {
                result_code: 1,
                result_string: "用户名/密码错误".to_owned(),
                ..LoginDone::default()
            };
        }
        LoginDone {
            result_code: 0,
            result_string: String::new(),
            user_id: user,
            user_info: user_info(user).encode_to_vec().into(),
            login_ms: if self.says_no_time { 0 } else { LOGIN_MS },
            ..LoginDone::default()
        }
    }

    fn store(&mut self, send: Send) -> SendDone {
        self.sends.push(send.clone());
        let outcome = self.outcomes.get(&send.to).copied().unwrap_or_default();
        let (seq, msg_id) = match outcome {
            send_done::Outcome::Stored => {
                let seq = self.log.len() as u64 + 1;
                let message = LiveMessage {
                    seq,
                    from: send.from,
                    to: send.to,
                    msg_id: u32::try_from(seq).unwrap(),
                    time: 1_700_000_000,
                    msg_type: send.msg_type,
                    data: send.data,
                    origin: send.origin,
                    recipients: vec![send.from, send.to],
                    trace: send.trace,
                };
                self.log.push(message);
                (seq, u32::try_from(seq).unwrap())
            }
            _ => (0, 0),
        };
        SendDone {
            outcome: outcome as i32,
            msg_id,
            time: 1_700_000_000,
            seq,
            wait_ms: self.wait_ms,
        }
    }

    fn answer_query(&self, query: &im_proto_rpc::v1::Query) -> Answer {
        let command = Command::from_id(u16::try_from(query.command).unwrap()).unwrap();
        match command.answer() {
            Some(answer) => Answer {
                outcome: answer::Outcome::Answered as i32,
                command: u32::from(answer.id()),
                body: query.body.clone(),
                more: self.more.clone(),
                ..Answer::default()
            },
            None => Answer {
                outcome: answer::Outcome::Silent as i32,
                ..Answer::default()
            },
        }
    }

    fn is_held(&self, call: &DbCall) -> bool {
        self.holds && !matches!(call.call, Some(db_call::Call::ReadLog(_)))
    }
}

fn user_info(user: u32) -> UserInfo {
    UserInfo {
        user_id: user,
        user_gender: 1,
        user_nick_name: format!("nick {user}"),
        avatar_url: "http://a".to_owned(),
        department_id: 3,
        email: "e@x".to_owned(),
        user_real_name: "real".to_owned(),
        user_tel: "1".to_owned(),
        user_domain: "domain".to_owned(),
        status: 0,
        sign_info: Some("sign".to_owned()),
    }
}

#[derive(Clone)]
pub(in crate::tests) struct DbPlayer(pub(super) Arc<Mutex<Db>>);

impl DbPlayer {
    pub(in crate::tests) fn state(&self) -> MutexGuard<'_, Db> {
        self.0.lock().unwrap()
    }

    /// Answers what was held, and no longer holds.
    pub(in crate::tests) fn release(&self) {
        let mut db = self.state();
        db.holds = false;
        let held = std::mem::take(&mut db.held);
        let results = held.into_iter().map(|call| db.answer(call)).collect();
        let tx = db.link.as_ref().map(|(tx, _)| tx.clone());
        if let Some(tx) = tx {
            tx.try_send(DbResults { results }).unwrap();
        }
    }

    /// Sends results on the link.
    pub(in crate::tests) fn say(&self, results: Vec<DbResult>) {
        let db = self.state();
        let (tx, _) = db.link.as_ref().expect("there is a link");
        tx.try_send(DbResults { results }).unwrap();
    }

    /// Cuts the link; new ones are accepted or not.
    pub(in crate::tests) fn cut(&self, accepts: bool) {
        let mut db = self.state();
        db.accepts = accepts;
        db.held.clear();
        if let Some((_, closed)) = db.link.take() {
            closed.cancel();
        }
    }

    pub(in crate::tests) fn accept_again(&self) {
        self.state().accepts = true;
    }

    pub(in crate::tests) fn largest_batch(&self) -> usize {
        self.state().batches.iter().copied().max().unwrap_or(0)
    }

    /// Commits a message that some other server's user sent.
    pub(in crate::tests) fn commit(&self, from: u32, recipients: &[u32]) -> LiveMessage {
        let mut db = self.state();
        let seq = db.log.len() as u64 + 1;
        let message = LiveMessage {
            seq,
            from,
            to: *recipients.last().unwrap(),
            msg_id: u32::try_from(seq).unwrap(),
            time: 1_700_000_000,
            msg_type: 1,
            data: Bytes::from(format!("message {seq}")),
            origin: 1,
            recipients: recipients.to_vec(),
            trace: 0,
        };
        db.log.push(message.clone());
        message
    }

    pub(super) fn accept(&self, link: Link<DbResults, DbCalls>) {
        let Link {
            tx, mut rx, closed, ..
        } = link;
        {
            let mut db = self.state();
            if !db.accepts {
                closed.cancel();
                return;
            }
            db.link = Some((tx.clone(), closed.clone()));
        }
        let player = self.clone();
        tokio::spawn(async move {
            while let Some(Some(calls)) = closed.run_until_cancelled(rx.recv()).await {
                let results = {
                    let mut db = player.state();
                    db.batches.push(calls.calls.len());
                    db.batch_bytes.push(calls.encoded_len());
                    let mut calls = calls.calls;
                    calls.retain(|call| match &call.call {
                        Some(db_call::Call::Cancel(cancel)) => {
                            db.cancelled.push(cancel.tag);
                            false
                        }
                        Some(db_call::Call::Taken(taken)) => {
                            db.taken.push(taken.bytes);
                            false
                        }
                        _ => true,
                    });
                    let (held, now): (Vec<_>, Vec<_>) =
                        calls.into_iter().partition(|call| db.is_held(call));
                    db.held.extend(held);
                    now.into_iter()
                        .map(|call| db.answer(call))
                        .collect::<Vec<_>>()
                };
                if !results.is_empty() && tx.send(DbResults { results }).await.is_err() {
                    return;
                }
            }
        });
    }
}
