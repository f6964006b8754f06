//! Images from files, for nodes that reach no registry.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::ContainerdError;
use super::launch::Launch;
use crate::client::Client;
use crate::v1;

const VISIBLE_TIMEOUT: Duration = Duration::from_secs(10);
const VISIBLE_INTERVAL: Duration = Duration::from_millis(20);

pub(super) async fn import(launch: &Launch, client: &Client, path: &Path) -> Result<Vec<String>, ContainerdError> {
    let refused = |reason: String| ContainerdError::Import { path: path.to_owned(), reason };
    let mut command = tokio::process::Command::from(launch.ctr());
    command.args(["images", "import", "--snapshotter", launch.snapshotter()]).arg(path);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| refused(error.to_string()))?;
    if !output.status.success() {
        return Err(refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let names = imported_names(&String::from_utf8_lossy(&output.stdout));
    if names.is_empty() {
        return Err(refused("it names no image (annotation io.containerd.image.name in index.json)".to_owned()));
    }
    for name in &names {
        wait_visible(client, name).await.map_err(refused)?;
    }
    Ok(names)
}

/// `ctr` prints `unpacking NAME (DIGEST)...done` for each image.
fn imported_names(stdout: &str) -> Vec<String> {
    let name = |line: &str| line.trim().strip_prefix("unpacking ")?.split(' ').next().map(str::to_owned);
    stdout.lines().filter_map(name).collect()
}

/// CRI learns of an image by an event of containerd's, a little after the import returns.
async fn wait_visible(client: &Client, name: &str) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let image = v1::ImageSpec { image: name.to_owned(), ..v1::ImageSpec::default() };
        let request = v1::ImageStatusRequest { image: Some(image), verbose: false };
        let answer = client.image_status(request).await.map_err(|error| error.to_string())?;
        if answer.image.is_some() {
            return Ok(());
        }
        if began.elapsed() > VISIBLE_TIMEOUT {
            return Err(format!("{name} is imported, and CRI does not know it"));
        }
        tokio::time::sleep(VISIBLE_INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::imported_names;

    #[test]
    fn names_of_an_import() {
        let stdout = "unpacking docker.io/library/a:1 (sha256:00)...done\nunpacking b.example/c:2 (sha256:11)...done\n";
        assert_eq!(imported_names(stdout), ["docker.io/library/a:1", "b.example/c:2"]);
        assert!(imported_names("elapsed: 0.1 s\n").is_empty());
    }
}
