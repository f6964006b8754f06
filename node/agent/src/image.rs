//! Images: whether to pull one, pulling it, and what goes wrong with that.

use std::sync::PoisonError;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod};
use skep_cri::v1;

use crate::context::Context;
use crate::pod::PodKey;

/// An image that is on the node.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) id: String,
    /// Who it runs as: a number, or a name.
    pub(crate) user: Result<i64, String>,
}

/// Why a container's image is not there: the reason and message of its status.
#[derive(Debug)]
pub(crate) struct Missing {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) retry_at: Timestamp,
}

const RETRY: SignedDuration = SignedDuration::from_secs(10);

/// Finds a container's image on the node, or pulls it, as its pull policy says.
pub(crate) async fn ensure(
    context: &Context,
    pod: &Pod,
    container: &Container,
    sandbox: &v1::PodSandboxConfig,
) -> Result<Image, Missing> {
    let named = container.image.clone().unwrap_or_default();
    let events = &context.recorder;
    let at = Some(container.name.as_str());
    let now = Timestamp::now();
    let missing = |reason, message: String| Missing { reason, message, retry_at: now + RETRY };
    let Some(reference) = with_tag(&named) else {
        let message = format!(
            "Failed to apply default image tag \"{named}\": couldn't parse image name \"{named}\": invalid reference format"
        );
        events.warning(pod, at, "InspectFailed", message.clone());
        events.warning(pod, at, "Failed", "Error: InvalidImageName");
        return Err(missing("InvalidImageName", message));
    };
    let held = status(context, &reference).await.map_err(|error| {
        events.warning(pod, at, "Failed", format!("Failed to inspect image \"{named}\": {error}"));
        missing("ImageInspectError", format!("Failed to inspect image \"{named}\": {error}"))
    })?;
    match (policy(container, &reference), held) {
        (Policy::IfNotPresent | Policy::Never, Some(image)) => {
            events.normal(pod, at, "Pulled", format!("Container image \"{named}\" already present on machine"));
            Ok(image)
        }
        (Policy::Never, None) => {
            let message = format!("Container image \"{named}\" is not present with pull policy of Never");
            events.warning(pod, at, "ErrImageNeverPull", message.clone());
            events.warning(pod, at, "Failed", "Error: ErrImageNeverPull");
            Err(missing("ErrImageNeverPull", message))
        }
        _ => pull(context, pod, container, &reference, sandbox).await,
    }
}

async fn pull(
    context: &Context,
    pod: &Pod,
    container: &Container,
    reference: &str,
    sandbox: &v1::PodSandboxConfig,
) -> Result<Image, Missing> {
    let named = container.image.clone().unwrap_or_default();
    let at = Some(container.name.as_str());
    let events = &context.recorder;
    let key = backoff_key(&PodKey::of(pod), &named);
    let began = Timestamp::now();
    events.normal(pod, at, "Pulling", format!("Pulling image \"{named}\""));
    let request = v1::PullImageRequest {
        image: Some(v1::ImageSpec { image: reference.to_owned(), ..v1::ImageSpec::default() }),
        auth: None,
        sandbox_config: Some(sandbox.clone()),
    };
    let failed = |error: String| {
        let now = Timestamp::now();
        let delay = lock(context).step(&key, now, now);
        events.warning(pod, at, "Failed", format!("Failed to pull image \"{named}\": {error}"));
        events.warning(pod, at, "Failed", "Error: ErrImagePull");
        Missing { reason: "ErrImagePull", message: error, retry_at: now + delay }
    };
    context.cri.pull_image(request).await.map_err(|error| failed(error.to_string()))?;
    lock(context).reset(&key);
    let image = status(context, reference).await.ok().flatten();
    let took = Timestamp::now().duration_since(began);
    let text = format!("Successfully pulled image \"{named}\" in {:.3}s", took.as_secs_f64());
    events.normal(pod, at, "Pulled", text);
    image.ok_or_else(|| failed(format!("image {named} is not there after its pull")))
}

fn lock(context: &Context) -> std::sync::MutexGuard<'_, crate::pod::Backoffs> {
    context.image_backoffs.lock().unwrap_or_else(PoisonError::into_inner)
}

fn backoff_key(key: &PodKey, image: &str) -> String {
    format!("{}_{image}", key.uid)
}

async fn status(context: &Context, reference: &str) -> Result<Option<Image>, skep_cri::Error> {
    let image = Some(v1::ImageSpec { image: reference.to_owned(), ..v1::ImageSpec::default() });
    let answer = context.cri.image_status(v1::ImageStatusRequest { image, verbose: false }).await?;
    Ok(answer.image.map(|image| Image {
        id: image.id,
        user: match (image.uid, image.username.split(':').next().unwrap_or_default()) {
            (Some(uid), _) => Ok(uid.value),
            (None, "") => Ok(0),
            (None, name) => name.parse().map_err(|_| name.to_owned()),
        },
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    Always,
    IfNotPresent,
    Never,
}

fn policy(container: &Container, reference: &str) -> Policy {
    match container.image_pull_policy.as_deref() {
        Some("Always") => Policy::Always,
        Some("Never") => Policy::Never,
        Some("IfNotPresent") => Policy::IfNotPresent,
        _ if reference.ends_with(":latest") => Policy::Always,
        _ => Policy::IfNotPresent,
    }
}

/// The reference with `:latest` where it has neither tag nor digest; `None` where it is no reference.
fn with_tag(image: &str) -> Option<String> {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    let name_at = rest.rfind('/').map_or(0, |at| at + 1);
    let (path, tag) = match rest[name_at..].split_once(':') {
        Some((_, tag)) => (&rest[..rest.len() - tag.len() - 1], Some(tag)),
        None => (rest, None),
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost" || part.chars().any(char::is_uppercase);
    if parts.len() > 1 && is_host(parts[0]) {
        let host = parts.remove(0);
        if !host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c)) {
            return None;
        }
    }
    let component = |part: &&str| {
        let edges = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        edges(part.chars().next()) && edges(part.chars().last()) && part.chars().all(inner) && !part.contains("..")
    };
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let tag_fits =
        |tag: &str| tag.len() <= 128 && tag.starts_with(word) && tag.chars().all(|c| word(c) || ".-".contains(c));
    let digest_fits = |digest: &str| {
        digest.split_once(':').is_some_and(|(kind, hex)| {
            !kind.is_empty() && hex.len() >= 32 && hex.chars().all(|c| c.is_ascii_hexdigit())
        })
    };
    let fits = parts.iter().all(component) && tag.is_none_or(tag_fits) && digest.is_none_or(digest_fits);
    let complete = tag.is_some() || digest.is_some();
    fits.then(|| if complete { image.to_owned() } else { format!("{image}:latest") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completes_and_checks_references() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for (image, expected) in [
            ("busybox", Some("busybox:latest")),
            ("busybox:1.36", Some("busybox:1.36")),
            ("localhost:5000/a/b", Some("localhost:5000/a/b:latest")),
            ("docker.io/library/a_b:v1", Some("docker.io/library/a_b:v1")),
            (digest.as_str(), Some(digest.as_str())),
            ("", None),
            ("Upper", None),
            ("a b", None),
            ("a:", None),
            ("a//b", None),
            ("a@sha256:zz", None),
        ] {
            assert_eq!(with_tag(image).as_deref(), expected, "{image}");
        }
    }
}
