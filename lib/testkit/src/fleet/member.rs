//! What belongs to one node.

/// Its network namespace.
pub(super) fn netns(node: &str) -> String {
    format!("skep-{node}")
}
