//! Generates the Rust types of `proto/` without a protoc: protox parses and checks, tonic-prost-build writes the code. The
//! parsed files are kept, with their comments, for the reflection service and for the test that holds the protos stable.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const FILES: [&str; 11] = [
    "hypermnesia/v1/backups.proto",
    "hypermnesia/v1/cluster.proto",
    "hypermnesia/v1/errors.proto",
    "hypermnesia/v1/events.proto",
    "hypermnesia/v1/operations.proto",
    "hypermnesia/v1/patterns.proto",
    "hypermnesia/v1/query.proto",
    "hypermnesia/v1/sequences.proto",
    "hypermnesia/v1/tables.proto",
    "hypermnesia/v1/transactions.proto",
    "hypermnesia/v1/values.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("hypermnesia.v1.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure()
        .build_server(env::var_os("CARGO_FEATURE_SERVER").is_some())
        .build_client(env::var_os("CARGO_FEATURE_CLIENT").is_some())
        .build_transport(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
