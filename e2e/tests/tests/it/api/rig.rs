//! A platform with its API, as tests of it have one.

use std::net::SocketAddr;

use serde_json::Value;

use super::EVERYTHING;
use super::calls::Call;
use crate::support::*;

/// A platform, the port of its API, and a token that allows everything.
pub(crate) struct Rig {
    pub(crate) platform: Platform,
    pub(crate) api: SocketAddr,
    pub(crate) token: String,
}

impl Rig {
    /// One process with these settings.
    pub(crate) async fn whole(people: u32, set: &[&str]) -> Self {
        let platform = own_platform(people, set).await;
        Self::of(platform, "all")
    }

    /// One process per role with these settings, and an http-api server `api` with more.
    pub(crate) async fn apart(people: u32, set: &[&str], more: &[&str]) -> Self {
        let platform = separate(people, set).await;
        Self::serving(platform, more).await
    }

    /// Starts the http-api server `api` of a platform of processes.
    pub(crate) async fn serving(mut platform: Platform, set: &[&str]) -> Self {
        let set: Vec<String> = set.iter().map(|set| (*set).to_owned()).collect();
        platform.start_http_api("api", &set).unwrap();
        platform.ready("api").await.unwrap();
        Self::of(platform, "api")
    }

    fn of(mut platform: Platform, name: &str) -> Self {
        let api = platform.http_api_address(name);
        let token = platform.token(&EVERYTHING, &[]).unwrap();
        Self {
            platform,
            api,
            token,
        }
    }

    /// Sends a call with the token, and expects this status.
    pub(crate) async fn ask(&self, call: Call, status: u16) -> Value {
        let answer = call.token(&self.token).expect(self.api, status).await;
        answer.json()
    }
}

/// One process per role, without an http-api server, with these settings.
pub(crate) async fn separate(people: u32, set: &[&str]) -> Platform {
    let options = CHEAP_HASHES
        .iter()
        .chain(set)
        .fold(Options::people(people), |options, set| options.set(set));
    let shape = Shape {
        login: 1,
        msg: 1,
        route: 1,
    };
    Platform::separate(shape, options).await.unwrap()
}
