//! Makes the code for gRPC from this repository's .proto file, without a protoc.

use std::error::Error;

const PROTO: &str = "../../../proto/deviceplugin/v1beta1";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={PROTO}");
    let files = protox::compile(["api.proto"], [PROTO])?;
    Ok(tonic_prost_build::configure().compile_fds(files)?)
}
