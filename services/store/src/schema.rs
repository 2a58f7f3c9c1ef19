//! Which schema a store has, which one this program needs, and what lies between.

/// Where a store's schema is, and which steps it lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest step that the store has; `None` where there is no store yet.
    pub found: Option<u32>,
    /// The newest step that this program knows, which it needs.
    pub needed: u32,
    /// What is missing, in order.
    pub missing: Vec<SchemaStep>,
}

/// A step of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaStep {
    /// Its number.
    pub number: u32,
    /// What it is called.
    pub name: String,
    /// Whether servers of the version before can go on while it is made.
    pub is_online: bool,
    /// Rows of the tables that it reads or changes, as far as the store can tell without counting for long.
    pub rows: u64,
}

impl SchemaState {
    /// Whether a later version of the program was here.
    pub fn is_too_new(&self) -> bool {
        self.found.is_some_and(|found| found > self.needed)
    }
}

/// Which of these tables a statement names.
pub fn tables_named<'t>(statement: &str, tables: &'t [String]) -> Vec<&'t str> {
    let lines = statement.lines();
    let lines = lines.filter(|line| !line.trim_start().starts_with("--"));
    let words: Vec<&str> = lines
        .flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect();
    let named = tables.iter().map(String::as_str);
    named.filter(|table| words.contains(table)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_names_the_tables_that_are_words_of_it() {
        let tables = [
            "part".to_owned(),
            "message".to_owned(),
            "account".to_owned(),
        ];
        let statement =
            "-- account\nCREATE TABLE parts (x);\nINSERT INTO part SELECT max(seq) FROM message;";
        assert_eq!(tables_named(statement, &tables), ["part", "message"]);
    }

    #[test]
    fn a_store_that_there_is_not_is_not_too_new() {
        let mut state = SchemaState {
            found: None,
            needed: 3,
            missing: Vec::new(),
        };
        assert!(!state.is_too_new());
        state.found = Some(3);
        assert!(!state.is_too_new());
        state.found = Some(4);
        assert!(state.is_too_new());
    }
}
