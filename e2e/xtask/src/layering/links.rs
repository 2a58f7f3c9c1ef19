//! Roles and links as the table of roles has them, held against the crates: each role is a library that uses
//! no other role's and names exactly the kinds of link that it dials or serves.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    use im_role::TABLE;

    use crate::layering::ALLOWED;

    #[test]
    fn every_role_is_a_library_that_may_use_no_other_role() {
        let library = |role: &im_role::Role| format!("im-{role}");
        for role in TABLE.roles {
            let (_, allowed) = ALLOWED
                .iter()
                .find(|(name, _)| *name == library(role))
                .unwrap_or_else(|| panic!("{role} has no crate im-{role}"));
            for other in TABLE.roles {
                assert!(
                    !allowed.contains(&library(other).as_str()),
                    "{role} {other}"
                );
            }
        }
    }

    #[test]
    fn a_role_names_the_links_that_it_dials_or_serves_and_no_other() {
        for role in TABLE.roles {
            let folder = format!("../../services/{role}/src");
            let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
            let is_named = |kind: &str| {
                let mut words = sources
                    .iter()
                    .flat_map(|text| text.split(|c: char| !c.is_alphanumeric() && c != '_'));
                words.any(|word| word == kind)
            };
            let links = TABLE.links.iter();
            let named: BTreeSet<_> = links
                .clone()
                .filter(|link| is_named(&type_of(link.kind)))
                .map(|link| link.kind)
                .collect();
            let ends: BTreeSet<_> = links
                .filter(|link| [link.from, link.to].contains(role))
                .map(|link| link.kind)
                .collect();
            assert_eq!(named, ends, "{role}");
        }
    }

    /// `route_attach` is `RouteAttach` in `im-rpc`.
    fn type_of(kind: &str) -> String {
        kind.split('_')
            .map(|word| {
                let (first, rest) = word.split_at(1);
                first.to_uppercase() + rest
            })
            .collect()
    }

    fn sources(folder: &Path) -> Vec<String> {
        let mut open = vec![folder.to_owned()];
        let mut texts = Vec::new();
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder).expect("read sources") {
                let path: PathBuf = entry.expect("read sources").path();
                if path.is_dir() {
                    open.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    texts.push(fs::read_to_string(path).expect("read source"));
                }
            }
        }
        texts
    }
}
