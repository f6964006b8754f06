//! The program that the container runtime starts for each pod: it asks the daemon, and prints what that says.

mod loopback;

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tonic::transport::Endpoint;

use crate::cni::{self, Config, Error, Request, VERSIONS};
use crate::v1::CallRequest;
use crate::v1::cni_client::CniClient;

/// The plugin's name in the network's configuration, and that of its file.
pub const PLUGIN: &str = "skep-cni";
/// The plugin by which runtimes bring up loopback. It does its work without the daemon.
pub const LOOPBACK: &str = "loopback";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Runtimes give up after some minutes; a pod waits for those before it, not for longer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Whether the program was called by one of the plugin's names. `argv0` is its own name.
#[must_use]
pub fn is_plugin(argv0: &OsStr) -> bool {
    Path::new(argv0).file_name().is_some_and(|name| name == PLUGIN || name == LOOPBACK)
}

/// The plugin, from environment and standard input to its exit code.
#[must_use]
pub fn plugin_main() -> ExitCode {
    let (code, output) = match run() {
        Ok(output) => (ExitCode::SUCCESS, output),
        Err(error) => (ExitCode::FAILURE, error.to_json()),
    };
    // A runtime that closed our output does not want it.
    let _ = std::io::stdout().write_all(output.as_bytes());
    code
}

fn run() -> Result<String, Error> {
    let mut input = Vec::new();
    let read = std::io::stdin().take(CONFIG_BYTES_MAX).read_to_end(&mut input);
    read.map_err(|error| Error::io("standard input", &error))?;
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let request = Request {
        command: variable("CNI_COMMAND"),
        container_id: variable("CNI_CONTAINERID"),
        netns: PathBuf::from(std::env::var_os("CNI_NETNS").unwrap_or_default()),
        ifname: variable("CNI_IFNAME"),
        args: variable("CNI_ARGS"),
        config: input,
    };
    if request.command == "VERSION" {
        return Ok(cni::version_json(VERSIONS[VERSIONS.len() - 1]));
    }
    let config = Config::decode(&request.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("runtime of the plugin", &error))?;
    let answer = runtime.block_on(async {
        if config.kind == LOOPBACK { loopback::answer(&request, &config).await } else { ask(request, &config).await }
    });
    answer.map_err(|error| Error { cni_version: config.cni_version, ..error })
}

/// The daemon's answer. An error in it is printed as it came.
async fn ask(request: Request, config: &Config) -> Result<String, Error> {
    if !config.socket.is_absolute() {
        let details = format!("socket is {:?}, not an absolute path", config.socket);
        return Err(Error::new(Error::INVALID_CONFIG, "network configuration", details));
    }
    let unreachable = |details: String| {
        let code = if request.command == "STATUS" { Error::NOT_AVAILABLE } else { Error::TRY_AGAIN };
        Error::new(code, format!("the node daemon does not answer on {}", config.socket.display()), details)
    };
    let endpoint = Endpoint::from_shared(format!("unix:{}", config.socket.display()))
        .map_err(|error| unreachable(error.to_string()))?;
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT);
    let channel = endpoint.connect().await.map_err(|error| unreachable(chain(&error)))?;
    let call = CallRequest {
        command: request.command.clone(),
        container_id: request.container_id.clone(),
        netns: request.netns.to_string_lossy().into_owned(),
        ifname: request.ifname.clone(),
        args: request.args.clone(),
        config: request.config.clone(),
    };
    let reply = CniClient::new(channel).call(call).await.map_err(|status| unreachable(status.message().to_owned()))?;
    let reply = reply.into_inner();
    if reply.ok {
        return Ok(reply.output);
    }
    Err(decode_error(&reply.output))
}

fn decode_error(output: &str) -> Error {
    let value: serde_json::Value = serde_json::from_str(output).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let code = value.get("code").and_then(serde_json::Value::as_u64).and_then(|code| u32::try_from(code).ok());
    Error::new(code.unwrap_or(Error::DECODE), text("msg"), text("details"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
