//! What people and programs do beside chatting while a test kills servers: they send files and pictures, make
//! groups over HTTP, and write to somebody with a phone. Each notes what it did and what it was told.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Cursor;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use im_client::proto::base::TransferFileType;
use im_client::{Client, ClientConfig, FileOffer, Transfer, pictures, transfer};
use im_core::{Peer, UserId};
use im_e2e::checker::beside::Sent;
use im_e2e::people;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::api::calls::{get, post};
use crate::support::*;

/// Between two errands of one kind: they are to be under way most of the time, and leave the machine room.
const PAUSE: Duration = Duration::from_millis(100);

/// How long one may take before it is given up; a killed server answers nobody.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was sent, by name.
pub(super) type Contents = BTreeMap<String, Sent>;

/// What one kind of errand has come to.
#[derive(Debug, Default)]
pub(super) struct Notes<T> {
    /// Errands that ended well.
    pub(super) done: AtomicUsize,
    pub(super) kept: Mutex<T>,
}

impl<T> Notes<T> {
    fn note(&self, is_done: bool, note: impl FnOnce(&mut T)) {
        note(&mut self.kept.lock().unwrap());
        if is_done {
            self.done.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn count(&self) -> usize {
        self.done.load(Ordering::Acquire)
    }
}

pub(super) fn hash(content: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    hasher.finish()
}

/// A content that no other errand has.
fn content(errand: usize) -> Vec<u8> {
    let seed = (errand as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let bytes = 1_000 + errand * 7_919 % 120_000;
    (0..bytes as u64)
        .map(|n| (seed.wrapping_mul(n | 1) >> 29) as u8)
        .collect()
}

pub(crate) async fn client(url: &str, user: u32) -> Client {
    let password = Password::clear(people::PASSWORD);
    let mut config = ClientConfig::new(url, people::name(user), password);
    config.sending.deadline = Duration::from_mins(3);
    let (client, mut events) = Client::connect(config).await.unwrap();
    // Nobody looks at them, and they are bounded.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    client
}

/// Whether an errand may go on.
async fn next(stop: &CancellationToken) -> bool {
    stop.run_until_cancelled(tokio::time::sleep(PAUSE))
        .await
        .is_some()
}

/// Sends files to somebody who is away.
pub(super) async fn files(
    client: Client,
    to: UserId,
    notes: Arc<Notes<Contents>>,
    stop: CancellationToken,
) {
    let mut errand = 0;
    while next(&stop).await {
        let (name, bytes) = (format!("file-{errand}"), content(errand));
        errand += 1;
        let sent = |is_stored| Sent {
            hash: hash(&bytes),
            is_stored,
        };
        // It may be there although nobody says so.
        notes.note(false, |all| {
            all.insert(name.clone(), sent(false));
        });
        let is_stored = send_file(&client, to, &name, &bytes).await.is_some();
        if is_stored {
            notes.note(true, |all| {
                all.insert(name.clone(), sent(true));
            });
        }
    }
}

async fn send_file(client: &Client, to: UserId, name: &str, bytes: &[u8]) -> Option<()> {
    let offer = FileOffer {
        to,
        name: name.to_owned(),
        size: bytes.len() as u32,
        mode: TransferFileType::FileTypeOffline,
    };
    let answer = tokio::time::timeout(PATIENCE, client.offer_file(&offer)).await;
    let answer = answer.ok()?.ok().filter(|it| it.result_code == 0)?;
    let transfer = Transfer {
        address: Transfer::first_address(&answer.ip_addr_list)?,
        task_id: answer.task_id.clone(),
        user_id: client.user_id(),
        mode: answer.trans_mode(),
        size: offer.size,
    };
    let mut source = Cursor::new(bytes);
    transfer::give(&transfer, &mut source, PATIENCE)
        .await
        .ok()?;
    client
        .add_offline_file(&offer, &transfer.task_id)
        .await
        .ok()
}

/// Fetches everything that waits for somebody: hashes by name.
pub(super) async fn fetched(client: &Client) -> BTreeMap<String, u64> {
    let waiting = client.offline_files().await.unwrap();
    let mut there = BTreeMap::new();
    let Some(address) = Transfer::first_address(&waiting.ip_addr_list) else {
        return there;
    };
    for file in waiting.offline_file_list {
        let transfer = Transfer {
            address: address.clone(),
            task_id: file.task_id,
            user_id: client.user_id(),
            mode: TransferFileType::FileTypeOffline,
            size: file.file_size,
        };
        let mut content = Vec::new();
        transfer::take(&transfer, &mut content, PATIENCE)
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", file.file_name));
        let before = there.insert(file.file_name.clone(), hash(&content));
        assert_eq!(before, None, "{} is there twice", file.file_name);
    }
    there
}

/// Stores pictures; each is named by its URL, and so only once it is stored.
pub(super) async fn pictures(
    address: SocketAddr,
    notes: Arc<Notes<Contents>>,
    stop: CancellationToken,
) {
    let base = format!("http://{address}/");
    let mut errand = 0;
    while next(&stop).await {
        let bytes = content(errand);
        errand += 1;
        let sent = Sent {
            hash: hash(&bytes),
            is_stored: true,
        };
        if let Ok(url) = pictures::store(&base, "a.png", bytes.into(), PATIENCE).await {
            notes.note(true, |all| {
                all.insert(url, sent);
            });
        }
    }
}

/// Fetches pictures: hashes by URL.
pub(super) async fn shown(urls: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut there = BTreeMap::new();
    for url in urls {
        if let Ok(content) = pictures::fetch(&url, 1 << 20, PATIENCE).await {
            there.insert(url, hash(&content));
        }
    }
    there
}

/// Makes groups over HTTP, each under an idempotency key, and asks until there is an answer; then once more.
pub(super) async fn changes(
    api: SocketAddr,
    token: String,
    notes: Arc<Notes<BTreeMap<String, BTreeSet<u64>>>>,
    stop: CancellationToken,
) {
    let mut errand = 0;
    while next(&stop).await {
        let name = format!("group {errand}");
        let call = post("/api/v1/groups", &json!({"name": name, "members": ["u1"]}));
        let call = call.token(&token).key(&format!("errand-{errand}"));
        errand += 1;
        notes.note(false, |all| {
            all.entry(name.clone()).or_default();
        });
        let mut answers = 0;
        while answers < 2 && next(&stop).await {
            let Some(answer) = call.try_send(api).await else {
                continue;
            };
            if answer.status == 201 {
                answers += 1;
                let id = answer.json()["id"].as_u64().unwrap();
                notes.note(answers == 2, |all| {
                    all.entry(name.clone()).or_default().insert(id);
                });
            } else {
                // db-proxy lives: whatever else is said, it is that of a server that has just begun.
                assert!(matches!(answer.status, 409 | 429 | 503 | 504), "{answer:?}");
            }
        }
    }
}

/// What the audit log says of groups that were made: their names.
pub(super) async fn rows(api: SocketAddr, token: &str) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/audit?action=CreateGroup&limit=200{cursor}");
        let page = get(&path).token(token).expect(api, 200).await.json();
        for row in page["items"].as_array().unwrap() {
            let made: Value = serde_json::from_str(row["after"].as_str().unwrap()).unwrap();
            names.push(made["name"].as_str().unwrap().to_owned());
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return names,
        }
    }
}

/// Writes to people with phones, by turns.
pub(super) async fn writes(
    client: Client,
    to: Vec<UserId>,
    notes: Arc<Notes<()>>,
    stop: CancellationToken,
) {
    let mut turn = to.iter().cycle();
    while next(&stop).await {
        let to = Peer::User(*turn.next().unwrap());
        client.send_text(to, "there is news").await.unwrap();
        notes.note(true, |()| ());
    }
}

/// Places in the log of what somebody wrote to somebody else.
pub(super) async fn places(api: SocketAddr, token: &str, pair: (u32, u32)) -> BTreeSet<u64> {
    let (mut places, mut before) = (BTreeSet::new(), String::new());
    let conversation = format!("users-{}-{}", pair.0.min(pair.1), pair.0.max(pair.1));
    loop {
        let path = format!("/api/v1/conversations/{conversation}/messages?limit=200{before}");
        let page = get(&path).token(token).expect(api, 200).await.json();
        let items = page["items"].as_array().unwrap();
        let found = items.iter().map(|it| it["position"].as_str().unwrap());
        places.extend(found.map(|it| it.parse::<u64>().unwrap()));
        let ids = items.iter().map(|it| it["id"].as_u64().unwrap());
        match ids.min() {
            Some(oldest) if oldest > 1 => before = format!("&before={oldest}"),
            _ => return places,
        }
    }
}
