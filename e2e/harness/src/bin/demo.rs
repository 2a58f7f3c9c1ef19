//! `make demo`: real servers, real clients, one conversation. `--store mysql`: on a MariaDB, which `MARIADB` names.

use anyhow::bail;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["--store", "sqlite"] => im_e2e::demo::run().await,
        ["--store", "mysql"] => im_e2e::demo::mysql::run().await,
        _ => bail!("give nothing, or --store mysql"),
    }
}
