//! The table of roles with one more, which only tests have. Tests of several crates include this.

mod echo;

use im_role::{TABLE, Table};

pub(crate) use echo::ECHO;
use echo::{ATTACH, SAY};

pub(crate) const WITH_ECHO: Table = Table {
    roles: &[
        TABLE.roles[0],
        TABLE.roles[1],
        TABLE.roles[2],
        TABLE.roles[3],
        TABLE.roles[4],
        ECHO,
    ],
    links: &[
        TABLE.links[0],
        TABLE.links[1],
        TABLE.links[2],
        TABLE.links[3],
        TABLE.links[4],
        ATTACH,
        SAY,
    ],
    reports: &[],
};
