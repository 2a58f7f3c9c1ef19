//! The table IMDepart of a TeamTalk database: paths of departments by their ids.

use std::collections::HashMap;

use super::row::BadLine;
use super::table::{TableRow, table};

/// Departments above one another.
const MAX_DEPTH: usize = 16;

/// Names of the columns, in lower case.
const ID: &str = "id";
const NAMES: [&str; 2] = ["departname", "name"];
const PARENTS: [&str; 2] = ["parentid", "parent"];

/// Reads the table.
///
/// # Errors
/// Its bad lines.
pub fn paths(text: &str) -> Result<HashMap<u32, String>, Vec<BadLine>> {
    let (heading, rows) = table(text)?;
    let place = |names: &[&str]| {
        let found = heading
            .cells
            .iter()
            .position(|cell| names.contains(&cell.trim().to_lowercase().as_str()));
        found.ok_or_else(|| {
            let message = format!("column {:?} of departments is missing", names.concat());
            vec![BadLine::new(heading.line, message)]
        })
    };
    let (id, name, parent) = (place(&[ID])?, place(&NAMES)?, place(&PARENTS)?);
    let mut all = HashMap::new();
    let mut bad = Vec::new();
    for row in &rows {
        match (number(row, id), row.cells.get(name), number(row, parent)) {
            (Some(id), Some(name), Some(parent)) if !name.trim().is_empty() => {
                // A path has slashes between names, not in them.
                all.insert(id, (parent, name.trim().replace('/', "-")));
            }
            _ => {
                let message = "a department has a number, a name and the number of its parent";
                bad.push(BadLine::new(row.line, message));
            }
        }
    }
    if bad.is_empty() {
        Ok(all.keys().map(|id| (*id, path(*id, &all))).collect())
    } else {
        Err(bad)
    }
}

fn number(row: &TableRow, place: usize) -> Option<u32> {
    row.cells.get(place)?.trim().parse().ok()
}

fn path(mut id: u32, all: &HashMap<u32, (u32, String)>) -> String {
    let mut names = Vec::new();
    while let Some((parent, name)) = all.get(&id)
        && names.len() < MAX_DEPTH
    {
        names.push(name.as_str());
        id = *parent;
    }
    names.reverse();
    names.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_imdepart_gives_paths() {
        let text = "id\tdepartName\tpriority\tparentId\tstatus\n1\tCompany\t1\t0\t0\n\
                    2\tR/D\t2\t1\t0\n";
        let paths = paths(text).unwrap();
        assert_eq!(paths[&1], "Company");
        assert_eq!(paths[&2], "Company/R-D");
    }

    #[test]
    fn a_circle_ends_and_bad_lines_are_named() {
        let circle = paths("id,name,parent\n1,a,2\n2,b,1\n").unwrap();
        assert!(circle[&1].len() < 2 * MAX_DEPTH);
        let bad = paths("id,name,parent\nx,a,0\n").unwrap_err();
        assert_eq!(bad[0].line, 2);
        assert!(paths("id,name\n1,a\n").is_err());
    }
}
