//! `make demo`: real servers, real clients, one conversation.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    im_e2e::demo::run().await
}
