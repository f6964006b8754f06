//! Compiles the protocol without a protoc binary.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["inspect.proto"], ["proto"])?;
    // The CLI prints what it receives as JSON or YAML.
    let build = tonic_prost_build::configure().message_attribute(".", "#[derive(serde::Serialize)]");
    build.compile_fds(files)?;
    Ok(())
}
