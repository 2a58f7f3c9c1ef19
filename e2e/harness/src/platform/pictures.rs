//! Servers of pictures, which need no other role.

use std::net::SocketAddr;

use super::{Platform, ports};

impl Platform {
    /// No process yet; each is started by itself.
    pub fn none() -> anyhow::Result<Self> {
        let platform = Self::empty("db")?;
        platform.write_secret()?;
        Ok(platform)
    }

    /// Starts an msfs server, whose pictures are in a folder with its name.
    pub fn start_msfs(&mut self, name: &str, set: &[String]) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let own = [
            format!("msfs.listen=\"{address}:{}\"", ports::MSFS),
            format!("msfs.dir=\"{}\"", self.dir.path().join(name).display()),
        ];
        self.start_role(name, "msfs", &own, set)
    }

    /// Port of an msfs server (`all` in an all-in-one platform).
    pub fn msfs_address(&mut self, name: &str) -> SocketAddr {
        SocketAddr::from((self.address_of(name), ports::MSFS))
    }
}
