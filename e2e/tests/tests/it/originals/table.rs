//! The table of commands of COMPATIBILITY.md, from what the scripts have met.

use im_e2e::documents::root;
use im_e2e::originals::{CLIENTS, Record, table};

use super::world::met;

const COMMAND: &str = "IM_UPDATE=1 cargo test -p im-e2e-tests --features processes --test e2e \
                       the_table_of_commands writes it";

#[test]
fn the_table_of_commands_is_what_the_scripts_have_met() {
    let mut record = Record::default();
    for client in CLIENTS {
        let file = met().join(format!("{}.txt", client.to_lowercase()));
        let text = std::fs::read_to_string(&file);
        record
            .add(&text.unwrap_or_else(|error| panic!("{}: {error}", file.display())))
            .unwrap();
    }
    let path = root().join("COMPATIBILITY.md");
    let present = std::fs::read_to_string(&path).unwrap();
    let expected = table::render(&present, &record).unwrap();
    if std::env::var_os("IM_UPDATE").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    assert!(
        present == expected,
        "it is not what the scripts have met; {COMMAND}"
    );
    let (_, rest) = expected.split_once("<!-- commands -->").unwrap();
    let (rows, _) = rest.split_once("<!-- end -->").unwrap();
    let open: Vec<&str> = rows
        .lines()
        .filter(|row| row.contains(" | no | "))
        .collect();
    assert_eq!(open, [""; 0], "rows with fields that no script compares");
}
