//! File servers of a platform.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::{Platform, ports, settings};

impl Platform {
    /// Starts a file server, which keeps files in a folder of its own.
    pub fn start_file(&mut self, name: &str, set: &[String]) -> anyhow::Result<()> {
        let address = self.address_of(name);
        let own = [
            format!("file.client_listen=\"{address}:{}\"", ports::FILE),
            format!("file.listen=\"{address}:{}\"", ports::FILE_LINK),
            format!("file.directory=\"{}\"", self.file_dir(name).display()),
        ];
        self.start_role(name, "file", &own, set)
    }

    /// Settings that tell a msg server of file servers.
    pub fn file_peers(&mut self, names: &[String]) -> Vec<String> {
        let peers: Vec<_> = names
            .iter()
            .map(|name| {
                let address = SocketAddr::from((self.address_of(name), ports::FILE_LINK));
                ("file", name.clone(), address)
            })
            .collect();
        settings(&peers)
    }

    /// Where a file server keeps files (`all` in an all-in-one platform).
    pub fn file_dir(&self, name: &str) -> PathBuf {
        if name == "all" {
            self.data_dir().join("files")
        } else {
            self.dir().join(format!("files-{name}"))
        }
    }

    /// Client port of a file server (`all` in an all-in-one platform).
    pub fn file_address(&mut self, name: &str) -> SocketAddr {
        SocketAddr::from((self.address_of(name), ports::FILE))
    }
}
