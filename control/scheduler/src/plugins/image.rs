//! ImageLocality: nodes that hold the pod's images already.

use crate::cache::Snapshot;
use crate::framework::{Plugin, Score};
use crate::node_info::NodeInfo;
use crate::pod_info::PodInfo;

const MIB: i64 = 1024 * 1024;
/// Images below this are not worth a preference.
const BYTES_MIN: i64 = 23 * MIB;
/// More than this for each container makes no difference.
const BYTES_MAX: i64 = 1000 * MIB;

/// Nodes that hold more of the pod's images first.
pub(super) fn plugin() -> Plugin {
    let mut plugin = Plugin::named("ImageLocality", &[]);
    plugin.score = Some(Score { weight: 1, score, normalize: None, applies: |_| true });
    plugin
}

fn score(pod: &PodInfo, node: &NodeInfo, snapshot: &Snapshot) -> i64 {
    let Some(spec) = pod.spec() else { return 0 };
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let mut count = 0;
    let mut held_bytes = 0;
    for container in containers {
        count += 1;
        let image = normalized(container.image.as_deref().unwrap_or_default());
        let Some(bytes) = node.images.get(&image) else { continue };
        // An image that few nodes hold counts for less, so that pods do not crowd on those.
        let (holding, all) = snapshot.nodes().fold((0i64, 0i64), |(holding, all), other| {
            (holding + i64::from(other.images.contains_key(&image)), all + 1)
        });
        held_bytes +=
            i64::try_from(i128::from(*bytes) * i128::from(holding) / i128::from(all.max(1))).unwrap_or(i64::MAX);
    }
    let most = BYTES_MAX * count.max(1);
    100 * (held_bytes.clamp(BYTES_MIN, most) - BYTES_MIN) / (most - BYTES_MIN)
}

/// The name with a tag, as nodes list it.
fn normalized(image: &str) -> String {
    let tagged = image.rfind(':').is_some_and(|colon| image.rfind('/').is_none_or(|slash| colon > slash));
    if tagged || image.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
