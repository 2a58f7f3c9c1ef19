//! A file that says where the roles listen, written once everything is ready.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;

/// Addresses by role and by name of the listener, such as `msg` → `client` → `127.0.0.1:8000`.
pub type Addresses = BTreeMap<String, BTreeMap<String, SocketAddr>>;

/// Writes the addresses as JSON. A reader sees the whole file or none.
///
/// # Errors
/// The file cannot be written or put into its place.
pub fn write(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(addresses)?;
    text.push(b'\n');
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(name);
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(&text)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_the_addresses_of_each_role_and_nothing_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ready.json");
        let address: SocketAddr = "127.0.0.1:8000".parse().unwrap();
        let listeners = BTreeMap::from([("client".to_owned(), address)]);
        write(&path, &Addresses::from([("msg".to_owned(), listeners)])).unwrap();
        let read: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"msg": {"client": "127.0.0.1:8000"}})
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
