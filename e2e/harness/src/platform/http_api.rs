//! Servers of the HTTP API.

use std::net::SocketAddr;

use anyhow::Context as _;

use super::{Platform, ports};

impl Platform {
    /// Starts an http-api server, which asks the db-proxy of this platform.
    pub fn start_http_api(&mut self, name: &str, set: &[String]) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let own = [
            format!("http_api.listen=\"{address}:{}\"", ports::HTTP_API),
            format!("http_api.monitor_listen=\"{address}:{}\"", ports::MONITOR),
            format!("http_api.db_proxy=\"{}\"", self.admin_address()?),
            format!(
                "http_api.admin_secret_file=\"{}\"",
                self.admin_secret_file().display()
            ),
        ];
        self.start_role(name, "http-api", &own, set)
    }

    /// Port of an http-api server (`all` in an all-in-one platform).
    pub fn http_api_address(&mut self, name: &str) -> SocketAddr {
        SocketAddr::from((self.address_of(name), ports::HTTP_API))
    }

    /// Makes a token of the API with these scopes, and more arguments of `imd token create`.
    pub fn token(&self, scopes: &[&str], more: &[&str]) -> anyhow::Result<String> {
        let mut args = vec!["token", "create", "tests"];
        for scope in scopes {
            args.extend(["--scope", scope]);
        }
        args.extend(more);
        let told = self.imd(&args)?;
        let token = told.split_whitespace().find(|it| it.starts_with("imt_"));
        Ok(token.context("the tool tells the token")?.to_owned())
    }
}
