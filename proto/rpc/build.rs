//! Compiles the internal gRPC definitions with a pure Rust front end (no `protoc`).

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = [
        "im/v1/push.proto",
        "im/v1/db_proxy.proto",
        "im/v1/route.proto",
        "im/v1/login.proto",
        "im/v1/msg.proto",
        "im/v1/monitor.proto",
        "im/v1/file.proto",
        "im/v1/devices.proto",
        "im/v1/hooks.proto",
        "im/v1/announcements.proto",
        "im/v1/incoming.proto",
        "im/v1/bots.proto",
        "im/v1/discovery_items.proto",
        "im/v1/follower.proto",
        "im/v1/admin.proto",
    ];
    let fds = protox::Compiler::new(["proto"])?
        .include_source_info(true)
        .include_imports(true)
        .open_files(files)?
        .file_descriptor_set();
    tonic_prost_build::configure()
        .bytes(".im.v1")
        .compile_fds(fds)?;
    Ok(())
}
