//! Push servers of a platform.

use super::Platform;

impl Platform {
    /// Starts a push server that knows db-proxy and these route servers.
    pub fn start_push(
        &mut self,
        name: &str,
        routes: &[String],
        set: &[String],
    ) -> anyhow::Result<()> {
        let peers = self.peer_settings(&[], routes);
        self.start_role(name, "push", &peers, set)
    }
}
