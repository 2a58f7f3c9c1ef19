//! Logins over a real store.

mod busy;
mod locks;
mod remembered;

use im_config::units::{ByteSize, Span};
use im_core::time::UnixSeconds;
use im_proto_teamtalk::base::UserInfo;
use im_store::testing::TempStore;
use im_store::{AccountStore as _, DirectoryImport, DirectoryStore as _, ImportedUser};

use super::memory::Account;

use super::*;

fn config() -> AccountsConfig {
    AccountsConfig {
        argon2_memory: ByteSize::kib(8),
        argon2_iterations: 1,
        argon2_lanes: 1,
        lockout_first_wait: Span::millis(50),
        lockout_longest_wait: Span::millis(200),
        ..AccountsConfig::default()
    }
}

/// Most attempts that a gate has let through since then: one at once, and one after each wait.
fn openings(begun: tokio::time::Instant) -> usize {
    let waits = begun.elapsed().as_millis() / 50;
    1 + usize::try_from(waits).unwrap()
}

/// What clients send for a password.
fn digest(password: &str) -> String {
    digest_of(password)
}

fn call(name: &str, password: &str) -> LoginCall {
    LoginCall {
        user_name: name.to_owned(),
        password: digest(password),
        client_type: 1,
        client_version: "test".to_owned(),
        address: "192.0.2.1".to_owned(),
    }
}

fn accounts(temp: &TempStore, config: AccountsConfig, keys: RememberKeys) -> Accounts {
    let store = Arc::new(temp.store.clone());
    Accounts::new(store, config, keys, AccountMetrics::default())
}

struct Rig {
    temp: TempStore,
    accounts: Accounts,
}

impl Rig {
    async fn new(config: AccountsConfig) -> Self {
        let temp = TempStore::open().await;
        let accounts = accounts(&temp, config, RememberKeys::none());
        Self { temp, accounts }
    }

    /// As after a restart: the same store, nothing in memory.
    fn restarted(self, config: AccountsConfig) -> Self {
        self.restarted_with(config, RememberKeys::none())
    }

    fn restarted_with(self, config: AccountsConfig, keys: RememberKeys) -> Self {
        Self {
            accounts: accounts(&self.temp, config, keys),
            ..self
        }
    }

    async fn add(&self, user: ImportedUser) {
        let import = DirectoryImport {
            users: vec![user],
            now: UnixSeconds::now(),
        };
        let outcome = self.temp.store.import(&import).await.unwrap();
        assert_eq!(outcome.conflicts, []);
    }

    async fn ann(&self) {
        let hash = hash::make(&digest("secret"), self.accounts.pool.policy()).unwrap();
        self.add(ImportedUser {
            name: "ann".to_owned(),
            hash: Some(hash),
            nick: Some("Ann".to_owned()),
            sex: Some(2),
            department: Some(vec!["Company".to_owned()]),
            phone: Some("123".to_owned()),
            email: Some("ann@example.org".to_owned()),
            domain: Some("an".to_owned()),
            avatar: Some("http://a/b.png".to_owned()),
            signature: Some("hello".to_owned()),
            ..ImportedUser::default()
        })
        .await;
    }

    async fn code(&self, name: &str, password: &str) -> u32 {
        self.accounts.login(call(name, password)).await.result_code
    }

    fn hashes(&self) -> u64 {
        self.accounts.metrics.hashes()
    }

    async fn stored_hash(&self, name: &str) -> String {
        self.temp
            .store
            .credentials(name)
            .await
            .unwrap()
            .unwrap()
            .hash
    }
}

#[tokio::test]
async fn a_good_login_gets_all_eleven_fields() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let done = rig.accounts.login(call("ann", "secret")).await;
    assert_eq!((done.result_code, done.result_string.as_str()), (0, "成功"));
    assert!(done.login_ms > 1_700_000_000_000);
    let info: UserInfo = im_codec::decode_checked(done.user_info).unwrap();
    assert_eq!(info.user_id, done.user_id);
    let department_id = info.department_id;
    assert_ne!(department_id, 0);
    assert_eq!(
        info,
        UserInfo {
            user_id: done.user_id,
            user_gender: 2,
            user_nick_name: "Ann".to_owned(),
            avatar_url: "http://a/b.png".to_owned(),
            department_id,
            email: "ann@example.org".to_owned(),
            user_real_name: "ann".to_owned(),
            user_tel: "123".to_owned(),
            user_domain: "an".to_owned(),
            status: 0,
            sign_info: Some("hello".to_owned()),
        }
    );
}

#[tokio::test]
async fn wrong_passwords_unknown_names_and_inactive_people_look_and_cost_the_same() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let hash = rig.stored_hash("ann").await;
    for (name, status) in [("trial", 1), ("regular", 2), ("left", 3), ("intern", 4)] {
        rig.add(ImportedUser {
            name: name.to_owned(),
            hash: Some(hash.clone()),
            status: Some(status),
            ..ImportedUser::default()
        })
        .await;
    }
    rig.add(ImportedUser {
        name: "nohash".to_owned(),
        ..ImportedUser::default()
    })
    .await;
    for (name, password) in [
        ("ann", "Secret"),
        ("Ann", "secret"),
        ("nobody", "secret"),
        ("' OR 1=1 --", "secret"),
        ("trial", "secret"),
        ("regular", "secret"),
        ("left", "secret"),
        ("intern", "secret"),
        ("nohash", ""),
    ] {
        let before = rig.hashes();
        let done = rig.accounts.login(call(name, password)).await;
        let expected = LoginDone {
            result_code: 1,
            result_string: "用户名/密码错误".to_owned(),
            ..LoginDone::default()
        };
        assert_eq!(done, expected, "{name}");
        assert_eq!(rig.hashes() - before, 1, "{name} costs one hash");
    }
}

#[tokio::test]
async fn verified_credentials_cost_no_second_hash_and_no_lookup() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(rig.hashes(), 1);
    for n in 0..100 {
        // From other addresses too, which have to be looked up.
        let address = format!("192.0.2.{}", n % 3);
        let done = rig
            .accounts
            .login(LoginCall {
                address,
                ..call("ann", "secret")
            })
            .await;
        assert_eq!(done.result_code, 0);
    }
    assert_eq!(rig.hashes(), 1);
    assert_eq!(rig.code("ann", "wrong").await, 1);
    assert_eq!(rig.hashes(), 2);
    assert_eq!(rig.code("ann", "secret").await, 0);
    assert_eq!(
        rig.hashes(),
        2,
        "somebody else's failure does not forget it"
    );
}

#[tokio::test(start_paused = true)]
async fn verified_credentials_are_forgotten_after_their_time() {
    let memory = Memory::new(&config(), Arc::new(Keyed::new()));
    let account = Arc::new(Account {
        user: UserId::from_wire(7).unwrap(),
        name: "ann".to_owned(),
        hash: "hash".to_owned(),
        status: ACTIVE,
        remembered: None,
        user_info: bytes::Bytes::new(),
    });
    let pair = memory.pair("ann", "address");
    memory.learn(&account, memory.generation());
    memory.verify(&account, "digest", pair);
    assert!(memory.verified("ann", "digest", &pair).is_some());
    assert!(memory.verified("ann", "other", &pair).is_none());
    assert!(
        memory
            .verified("ann", "digest", &memory.pair("ann", "elsewhere"))
            .is_none()
    );
    let changed = Account {
        hash: "another".to_owned(),
        name: String::new(),
        ..(*account).clone()
    };
    assert!(
        !memory.is_verified(&changed, "digest"),
        "the stored hash is part of it"
    );
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    assert!(
        memory.verified("ann", "digest", &pair).is_none(),
        "the account is read again"
    );
    assert!(memory.is_verified(&account, "digest"));
    tokio::time::advance(std::time::Duration::from_mins(9)).await;
    assert!(!memory.is_verified(&account, "digest"));
}

#[tokio::test]
async fn a_new_password_counts_at_once_and_the_old_one_no_more() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    assert_eq!(rig.code("ann", "secret").await, 0);
    let user = rig
        .temp
        .store
        .credentials("ann")
        .await
        .unwrap()
        .unwrap()
        .user;
    let store = &rig.temp.store;
    let set = rig.accounts.set_password(store, user, "changed").await;
    set.unwrap();
    assert_eq!(rig.code("ann", "secret").await, 1);
    assert_eq!(rig.code("ann", "changed").await, 0);
}

#[tokio::test]
async fn a_changed_status_counts_at_once() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    assert_eq!(rig.code("ann", "secret").await, 0);
    let user = rig
        .temp
        .store
        .credentials("ann")
        .await
        .unwrap()
        .unwrap()
        .user;
    let store = &rig.temp.store;
    rig.accounts.set_status(store, user, 3).await.unwrap();
    assert_eq!(rig.code("ann", "secret").await, 1);
    rig.accounts.set_status(store, user, 0).await.unwrap();
    assert_eq!(rig.code("ann", "secret").await, 0);
}

#[tokio::test]
async fn an_account_that_changes_while_it_is_read_is_not_remembered() {
    let memory = Memory::new(&config(), Arc::new(Keyed::new()));
    let account = Arc::new(Account {
        user: UserId::from_wire(7).unwrap(),
        name: "ann".to_owned(),
        hash: "hash".to_owned(),
        status: ACTIVE,
        remembered: None,
        user_info: bytes::Bytes::new(),
    });
    let before = memory.generation();
    memory.forget(UserId::from_wire(9).unwrap());
    memory.learn(&account, before);
    assert!(memory.account("ann").is_none());
}

#[tokio::test]
async fn imported_hashes_are_accepted_and_upgraded_at_login() {
    let rig = Rig::new(config()).await;
    // md5hex(md5hex("123456") + "4321")
    rig.add(ImportedUser {
        name: "old".to_owned(),
        hash: Some("$teamtalk$4321$ebd291c31af7a8496cfd0a94f89b757b".to_owned()),
        ..ImportedUser::default()
    })
    .await;
    assert_eq!(rig.code("old", "wrong").await, 1);
    assert!(rig.stored_hash("old").await.starts_with("$teamtalk$"));
    assert_eq!(rig.code("old", "123456").await, 0);
    rig.accounts.renewals.flush().await;
    assert!(
        rig.stored_hash("old")
            .await
            .starts_with("$argon2id$v=19$m=8,t=1,p=1$")
    );
    let hashes = rig.hashes();
    assert_eq!(rig.code("old", "123456").await, 0);
    assert_eq!(rig.hashes(), hashes, "the new hash counts as verified");
    assert_eq!(rig.code("old", "wrong").await, 1);
}

#[tokio::test]
async fn other_parameters_reach_stored_hashes_at_login() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    let stronger = AccountsConfig {
        argon2_memory: ByteSize::kib(16),
        argon2_iterations: 2,
        ..config()
    };
    let rig = rig.restarted(stronger);
    assert_eq!(rig.code("ann", "secret").await, 0);
    rig.accounts.renewals.flush().await;
    assert!(
        rig.stored_hash("ann")
            .await
            .starts_with("$argon2id$v=19$m=16,t=2,p=1$")
    );
    assert_eq!(rig.code("ann", "secret").await, 0);
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_an_internal_error() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    rig.temp.store.close().await.unwrap();
    let done = rig.accounts.login(call("ann", "secret")).await;
    assert_eq!(
        (done.result_code, done.result_string.as_str()),
        (2, "服务端内部错误")
    );
}

#[tokio::test]
async fn blanks_around_a_name_do_not_count_and_case_does() {
    let rig = Rig::new(config()).await;
    rig.ann().await;
    for (name, code) in [
        ("ann ", 0),
        ("ann   ", 0),
        (" ann", 0),
        ("a nn", 1),
        ("ann\t", 0),
        ("Ann", 1),
        ("ANN ", 1),
    ] {
        assert_eq!(rig.code(name, "secret").await, code, "{name:?}");
    }
}
