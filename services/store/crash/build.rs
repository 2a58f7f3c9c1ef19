//! Links the watcher of the disk between the tests and the C library.

use std::path::Path;

/// What `disk.c` stands in for.
const WRAPPED: [&str; 10] = [
    "open",
    "open64",
    "write",
    "pwrite",
    "pwrite64",
    "ftruncate",
    "ftruncate64",
    "fsync",
    "fdatasync",
    "unlink",
];

fn main() {
    println!("cargo::rerun-if-changed=disk.c");
    for object in cc::Build::new().file("disk.c").compile_intermediates() {
        link(&Path::new(&object).display().to_string());
    }
    for name in WRAPPED {
        link(&format!("-Wl,--wrap={name}"));
    }
}

fn link(argument: &str) {
    println!("cargo::rustc-link-arg-tests={argument}");
}
