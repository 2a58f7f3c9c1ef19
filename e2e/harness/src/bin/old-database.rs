//! Prints a database of an original TeamTalk installation, of any size, as SQL:
//! `old-database PEOPLE GROUPS MESSAGES | mariadb teamtalk`.

use anyhow::{Context as _, bail};
use im_e2e::old_database::OldDatabase;

fn main() -> anyhow::Result<()> {
    let numbers = std::env::args().skip(1).map(|text| {
        let number = text.parse::<u32>();
        number.with_context(|| format!("{text:?} is no number"))
    });
    let numbers = numbers.collect::<anyhow::Result<Vec<_>>>()?;
    let [people, groups, messages] = numbers[..] else {
        bail!("give three numbers: of people, groups and messages");
    };
    let old = OldDatabase {
        people,
        groups,
        messages,
    };
    old.write(&mut std::io::BufWriter::new(std::io::stdout().lock()))
        .context("write the database")
}
