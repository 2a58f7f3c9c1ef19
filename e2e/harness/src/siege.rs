//! A platform under attack, and what everybody else notices of it.
//!
//! A [`Siege`] starts a platform, lets two pairs of bystanders chat over connections that they opened
//! before, and has newcomers log in for as long as an attack runs. After each attack what the
//! processes hold must be back where it was. [`Siege::holds`] gives the verdict.
//!
//! Everybody has addresses of their own, in networks of their own: see [`source`].

mod bystanders;
mod newcomers;
mod usage;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::platform::{CHEAP_HASHES, Options, Platform, Shape};

pub use bystanders::Chat;
pub use newcomers::Arrivals;
pub use usage::Usage;

use bystanders::Bystanders;

/// Users below this one are bystanders and newcomers.
const FIRST_ATTACKER: u32 = 100;
/// Resident memory that no role may exceed, KiB.
const MOST_RESIDENT_KIB: u64 = 512 << 10;
/// The slowest acknowledgement of a bystander.
const SLOWEST_ACK: Duration = Duration::from_secs(2);
/// Time in which what an attack took must be given back.
const RECOVERY: Duration = Duration::from_secs(5);
/// What the kernel and the allocator keep anyway may be so much more in a second round, KiB.
const SECOND_ROUND_SLACK_KIB: u64 = 32 << 10;

/// Local address number `host` of network number `net`, a /24 of its own that no process listens in.
/// Bystanders come from network 2, newcomers from 3; attackers take others.
pub const fn source(net: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, net, host)
}

/// A platform with people to attack with, whose passwords cost next to nothing to check.
pub fn ground(attackers: u32) -> Options {
    CHEAP_HASHES
        .iter()
        .fold(ground_with_real_hashes(attackers), |options, set| {
            options.set(set)
        })
}

/// The same with hashes as in production.
pub fn ground_with_real_hashes(attackers: u32) -> Options {
    Options::people(FIRST_ATTACKER + attackers)
}

/// User id of an attacker, who count from 1.
pub const fn attacker(n: u32) -> u32 {
    FIRST_ATTACKER + n
}

/// Raises the limit of open files of this process as far as it goes.
pub fn raise_open_files() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// A platform under attack.
#[derive(Debug)]
pub struct Siege {
    platform: Platform,
    /// Witnesses have a thread that no attacker runs on.
    witnesses: Option<Runtime>,
    bystanders: Bystanders,
    msg: SocketAddr,
    before: BTreeMap<String, Usage>,
    rounds: Vec<Round>,
    arrivals: Arrivals,
    newcomers_limit: Duration,
    faults: Vec<String>,
    notes: Vec<String>,
    judged: bool,
}

/// What one attack did to the processes.
#[derive(Debug, Default)]
struct Round {
    peak_kib: BTreeMap<String, u64>,
    after: BTreeMap<String, Usage>,
}

impl Siege {
    /// One process per role.
    ///
    /// # Panics
    /// As all methods: when the platform cannot do without an attack what the test needs.
    pub async fn separate(options: Options) -> Self {
        let shape = Shape {
            login: 1,
            msg: 1,
            route: 1,
        };
        let platform = Platform::separate(shape, options).await;
        Self::around(platform.expect("the platform starts"), "msg1").await
    }

    /// One process with everything.
    pub async fn all_in_one(options: Options) -> Self {
        let platform = Platform::all_in_one(options).await;
        Self::around(platform.expect("the platform starts"), "all").await
    }

    /// Any platform; bystanders and newcomers use the msg server `msg`.
    pub async fn around(mut platform: Platform, msg: &str) -> Self {
        raise_open_files().expect("raise the limit of open files");
        let msg = platform.msg_address(msg);
        let witnesses = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("start a runtime");
        let bystanders = Bystanders::start(witnesses.handle(), msg).await;
        let mut siege = Self {
            platform,
            witnesses: Some(witnesses),
            bystanders,
            msg,
            before: BTreeMap::new(),
            rounds: Vec::new(),
            arrivals: Arrivals::default(),
            newcomers_limit: Duration::from_secs(5),
            faults: Vec::new(),
            notes: Vec::new(),
            judged: false,
        };
        siege.calm().await;
        siege
    }

    /// Newcomers may take so long, instead of five seconds; they wait for ten at least.
    #[must_use]
    pub fn newcomers_within(mut self, limit: Duration) -> Self {
        self.newcomers_limit = limit;
        self
    }

    /// A time without an attack: what is needed once is there afterwards, and its size is noted.
    pub async fn calm(&mut self) {
        let quiet = tokio::time::sleep(Duration::from_millis(1_200));
        self.during(quiet).await;
        self.before.clear();
        for name in self.platform.names() {
            let process = self.platform.process(&name).expect("it was started");
            let usage = Usage::read(process).await.expect("read its metrics");
            self.before.insert(name, usage);
        }
    }

    /// The platform.
    pub fn platform(&mut self) -> &mut Platform {
        &mut self.platform
    }

    /// Where clients connect.
    pub fn msg(&self) -> SocketAddr {
        self.msg
    }

    /// Acknowledgements up to now.
    pub fn chat(&self) -> Chat {
        self.bystanders.chat()
    }

    /// Adds a line to the report.
    pub fn note(&mut self, what: String) {
        self.notes.push(what);
    }

    /// What must be; [`Self::holds`] fails with what is instead.
    pub fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(what());
        }
    }

    /// Something that takes its time while newcomers arrive; nothing is looked at afterwards.
    pub async fn during<F: Future>(&mut self, attack: F) -> F::Output {
        let runtime = self.witnesses.as_ref().expect("witnesses are there");
        let over = CancellationToken::new();
        let begin = self.arrivals.attempts();
        let patience = self.newcomers_limit.max(newcomers::PATIENCE);
        let arrivals = newcomers::arrive(self.msg, begin, patience, over.clone());
        let arrivals = runtime.spawn(arrivals);
        let result = attack.await;
        over.cancel();
        self.arrivals
            .extend(arrivals.await.expect("newcomers arrive"));
        result
    }

    /// What may hold up bystanders, such as a restart: they are silent meanwhile. Links are dialed anew
    /// then, so that a calm time follows.
    pub async fn interrupt(&mut self, work: impl AsyncFnOnce(&mut Platform)) {
        let silence = self.bystanders.silence().await;
        work(&mut self.platform).await;
        drop(silence);
        self.calm().await;
    }

    /// One attack while newcomers arrive, and the recovery from it.
    pub async fn round<F: Future>(&mut self, attack: F) -> F::Output {
        for name in self.platform.names() {
            let process = self.platform.process(&name).expect("it was started");
            usage::reset_peak(process.pid()).expect("reset the peak of its memory");
        }
        let result = self.during(attack).await;
        let after = self.recover().await;
        let mut round = Round {
            peak_kib: BTreeMap::new(),
            after,
        };
        for name in self.platform.names() {
            let process = self.platform.process(&name).expect("it was started");
            match usage::peak_kib(process.pid()) {
                Ok(peak) => drop(round.peak_kib.insert(name, peak)),
                Err(error) => self.faults.push(format!("{name}: {error:#}")),
            }
        }
        self.rounds.push(round);
        result
    }

    /// Waits until every process holds no more than before, and notes those that do not in time.
    async fn recover(&mut self) -> BTreeMap<String, Usage> {
        let deadline = Instant::now() + RECOVERY;
        loop {
            let mut after = BTreeMap::new();
            let mut excess = Vec::new();
            for (name, before) in &self.before {
                let process = self.platform.process(name).expect("it was started");
                match Usage::read(process).await {
                    Ok(usage) => {
                        excess.extend(
                            usage
                                .above(before)
                                .into_iter()
                                .map(|part| format!("{name}: {part} {RECOVERY:?} after an attack")),
                        );
                        after.insert(name.clone(), usage);
                    }
                    Err(error) => excess.push(format!("{name}: {error:#}")),
                }
            }
            if excess.is_empty() {
                return after;
            }
            if Instant::now() >= deadline {
                self.faults.append(&mut excess);
                return after;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// The verdict.
    ///
    /// # Panics
    /// With everything that anybody noticed of the attack.
    pub async fn holds(mut self) {
        let chat = self.bystanders.finish().await;
        self.judge_processes();
        self.judged = true;
        self.faults.extend(chat.faults(SLOWEST_ACK));
        self.faults
            .extend(self.arrivals.faults(self.newcomers_limit));
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        eprintln!(
            "siege {test}: {chat}; {}{}",
            self.arrivals,
            self.described()
        );
        assert!(
            self.faults.is_empty(),
            "the platform did not hold:\n  {}",
            self.faults.join("\n  ")
        );
    }

    fn judge_processes(&mut self) {
        for (n, round) in self.rounds.iter().enumerate() {
            for (name, peak) in &round.peak_kib {
                if *peak > MOST_RESIDENT_KIB {
                    let mib = peak >> 10;
                    self.faults
                        .push(format!("{name}: {mib} MiB in round {}", n + 1));
                }
            }
            for (name, after) in &round.after {
                let links = self.before.get(name).map_or(0, |before| before.links);
                if after.links != links {
                    let lost = after.links - links;
                    self.faults
                        .push(format!("{name}: dialed {lost} links anew, round {}", n + 1));
                }
            }
        }
        for pair in self.rounds.windows(2) {
            let [first, second] = pair else { continue };
            for (name, peak) in &second.peak_kib {
                let before = first.peak_kib.get(name).copied().unwrap_or(u64::MAX);
                if *peak > before.saturating_add(before / 20 + SECOND_ROUND_SLACK_KIB) {
                    let (before, peak) = (before >> 10, peak >> 10);
                    self.faults
                        .push(format!("{name}: {before} MiB, then {peak} MiB"));
                }
            }
        }
    }

    fn described(&self) -> String {
        let mut text = String::new();
        for note in &self.notes {
            text += &format!("\n  {note}");
        }
        for (n, round) in self.rounds.iter().enumerate() {
            for (name, peak) in &round.peak_kib {
                let before = self.before.get(name).copied().unwrap_or_default();
                let after = round.after.get(name).copied().unwrap_or_default();
                text += &format!(
                    "\n  round {} {name}: peak {} MiB; heap {} -> {} KiB, descriptors {} -> {}, tasks {} -> {}, links {} -> {}",
                    n + 1,
                    peak >> 10,
                    before.heap_kib,
                    after.heap_kib,
                    before.descriptors,
                    after.descriptors,
                    before.tasks,
                    after.tasks,
                    before.links,
                    after.links,
                );
            }
        }
        text
    }
}

impl Drop for Siege {
    fn drop(&mut self) {
        // A test that did not come to its end tells nevertheless what was seen.
        if std::thread::panicking() && !self.judged {
            eprintln!(
                "siege: {}; {}{}",
                self.chat(),
                self.arrivals,
                self.described()
            );
        }
        if let Some(runtime) = self.witnesses.take() {
            runtime.shutdown_background();
        }
    }
}
